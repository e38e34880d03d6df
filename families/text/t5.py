"""T5: the encoder of CogVideoX, LTX-Video, Mochi and Open-Sora 2.0. UMT5 has its layers, see `umt5.py`.

Source: transformers' T5EncoderModel; google/t5-v1_1-xxl; for the names in GGUF files, ggml-org/llama.cpp,
gguf-py/gguf/constants.py.
"""

from __future__ import annotations

from ...base import Shapes
from ...base.keys import Rule, rename
from ...base.text import ANY_TOKENIZER, TextEncoderKind, TextLayout, count_layers

TOKENIZERS = frozenset({"T5Tokenizer", "T5TokenizerFast"}) | ANY_TOKENIZER
TIED = {"encoder.embed_tokens.weight": "shared.weight"}
SPIECE = "spiece_model"
_BIAS = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"


_GGUF_BIAS = "enc.blk.{}.attn_rel_b.weight"


def recognise(shapes: Shapes) -> TextLayout | None:
    if _BIAS.format(1) in shapes or _GGUF_BIAS.format(1) in shapes:
        return None
    return published(shapes, "T5")


def published(shapes: Shapes, name: str) -> TextLayout | None:
    """An encoder in transformers' names or llama.cpp's; UMT5 has a table of relative positions in every block."""
    return _gguf(shapes, name) or _transformers(shapes, name)


def _transformers(shapes: Shapes, name: str) -> TextLayout | None:
    block = "encoder.block.{}.layer.0.SelfAttention.q.weight"
    ff = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"
    if any(name not in shapes for name in (block.format(0), _BIAS.format(0), ff, "shared.weight")):
        return None
    rules = (rename(f"^{SPIECE}"), rename("^decoder"), rename("^lm_head"))
    return layout(shapes, name, block, _BIAS.format(0), ff, "shared.weight", rules)


def _gguf(shapes: Shapes, name: str) -> TextLayout | None:
    block, bias, ff = "enc.blk.{}.attn_q.weight", _GGUF_BIAS.format(0), "enc.blk.0.ffn_gate.weight"
    if any(name not in shapes for name in (block.format(0), bias, ff, "token_embd.weight")):
        return None
    stem, layer = "^enc.blk.{}", "encoder.block.{}.layer"
    rules = (
        rename("^token_embd", "shared"),
        rename("^dec"),
        rename("^output"),
        rename("^enc.output_norm", "encoder.final_layer_norm"),
        rename(f"{stem}.attn_norm", f"{layer}.0.layer_norm"),
        rename(f"{stem}.attn_rel_b", f"{layer}.0.SelfAttention.relative_attention_bias"),
        *(rename(f"{stem}.attn_{n}", f"{layer}.0.SelfAttention.{n}") for n in "qkvo"),
        rename(f"{stem}.ffn_norm", f"{layer}.1.layer_norm"),
        rename(f"{stem}.ffn_gate", f"{layer}.1.DenseReluDense.wi_0"),
        rename(f"{stem}.ffn_up", f"{layer}.1.DenseReluDense.wi_1"),
        rename(f"{stem}.ffn_down", f"{layer}.1.DenseReluDense.wo"),
    )
    return layout(shapes, name, block, bias, ff, "token_embd.weight", rules)


def layout(
    shapes: Shapes, name: str, block: str, bias: str, ff: str, embedding: str, rules: tuple[Rule, ...]
) -> TextLayout:
    """The layout of a T5 or UMT5 whose tensors have these names.

    Args:
        name: "T5" or "UMT5".
        block: of a block's query, with "{}" for the block's number.
        bias, ff, embedding: of the first block's relative positions and first wide layer, and of the vocabulary.
    """
    vocabulary, width = shapes[embedding]
    buckets, heads = shapes[bias]
    config = {
        "vocab_size": vocabulary, "d_model": width, "d_kv": shapes[block.format(0)][0] // heads, "num_heads": heads,
        "d_ff": shapes[ff][0], "num_layers": count_layers(shapes, block), "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu", "is_encoder_decoder": False, "use_cache": False, "pad_token_id": 0,
        "tie_word_embeddings": False, "eos_token_id": 1,
    }  # fmt: skip
    title = f"{name}-XXL" if width == 4096 else f"{name} ({width} wide)"
    return TextLayout(title, config, width, rules)


KIND = TextEncoderKind(
    class_name="T5EncoderModel",
    tokenizers=TOKENIZERS,
    published=("T5-XXL",),
    recognise=recognise,
    tied=TIED,
    spiece=SPIECE,
    host_tokenizer="text_encoders/t5_tokenizer",
)
