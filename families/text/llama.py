"""Llama 3: HunyuanVideo's encoder.

Source: transformers' LlamaModel; xtuner/llava-llama-3-8b-v1_1-transformers; for GGUF files, ggml-org/llama.cpp:
gguf-py/gguf/constants.py (names) and convert_hf_to_gguf.py (the order of the rows of q and k).
"""

from __future__ import annotations

from ...base import Shapes
from ...base.keys import Rule, Split, rename
from ...base.text import ANY_TOKENIZER, TextEncoderKind, TextLayout, count_layers

# Qwen and Gemma are other networks with the same names; these norms and biases distinguish them.
_OTHERS = (
    "layers.0.self_attn.q_proj.bias", "layers.0.self_attn.q_norm.weight", "layers.0.pre_feedforward_layernorm.weight",
)  # fmt: skip


# The same of GGUF files: Qwen 2, Qwen 3, Gemma, and Llama 3.1, whose positions are scaled.
_GGUF_OTHERS = (
    "blk.0.attn_q.bias", "blk.0.attn_q_norm.weight", "blk.0.post_attention_norm.weight", "rope_freqs.weight",
)  # fmt: skip


def recognise(shapes: Shapes) -> TextLayout | None:
    return _gguf(shapes) or _published(shapes)


def _published(shapes: Shapes) -> TextLayout | None:
    for prefix in ("model.", "language_model.model.", ""):
        q, k = (f"{prefix}layers.{{}}.self_attn.{n}_proj.weight" for n in "qk")
        if q.format(0) in shapes and f"{prefix}embed_tokens.weight" in shapes:
            break
    else:
        return None
    if any(f"{prefix}{name}" in shapes for name in _OTHERS):
        return None
    left_out = ("lm_head", "language_model.lm_head", "vision_tower", "multi_modal_projector", "vision_model")
    rules = [rename(f"^{name}") for name in left_out]
    if prefix:
        rules.append(rename(f"^{prefix.rstrip('.')}", ""))
    embedding, wide = f"{prefix}embed_tokens.weight", f"{prefix}layers.0.mlp.gate_proj.weight"
    return _layout(shapes, q, k, wide, embedding, tuple(rules))


def _gguf(shapes: Shapes) -> TextLayout | None:
    q, k, wide, embedding = (
        "blk.{}.attn_q.weight", "blk.{}.attn_k.weight", "blk.0.ffn_gate.weight", "token_embd.weight",
    )  # fmt: skip
    if any(name not in shapes for name in (q.format(0), k.format(0), wide, embedding)):
        return None
    if any(name in shapes for name in _GGUF_OTHERS):
        return None
    back = _halves_apart(_head(shapes[q.format(0)][0]))
    rules = (
        rename("^output"),
        rename("^token_embd", "embed_tokens"),
        rename("^output_norm", "norm"),
        *(rename(f"^blk.{{}}.attn_{n}", f"layers.{{}}.self_attn.{n}_proj", split=back) for n in "qk"),
        rename("^blk.{}.attn_v", "layers.{}.self_attn.v_proj"),
        rename("^blk.{}.attn_output", "layers.{}.self_attn.o_proj"),
        *(rename(f"^blk.{{}}.ffn_{n}", f"layers.{{}}.mlp.{n}_proj") for n in ("gate", "up", "down")),
        rename("^blk.{}.attn_norm", "layers.{}.input_layernorm"),
        rename("^blk.{}.ffn_norm", "layers.{}.post_attention_layernorm"),
    )
    return _layout(shapes, q, k, wide, embedding, rules)


def _halves_apart(head: int) -> Split:
    """Rotary pairs that stand side by side in llama.cpp's rows as the two halves of a head, as transformers has them.

    Args:
        head: rows of one head.
    """
    return lambda rows: (rows.unflatten(0, (-1, head // 2, 2)).transpose(1, 2).flatten(0, 2),)


def _head(rows: int) -> int:
    return 128 if rows % 128 == 0 else 8


def _layout(shapes: Shapes, q: str, k: str, wide: str, embedding: str, rules: tuple[Rule, ...]) -> TextLayout:
    """The layout of a Llama whose tensors have these names; "{}" is the layer's number."""
    (vocabulary, width), rows = shapes[embedding], shapes[q.format(0)][0]
    head = _head(rows)
    config = {
        "vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": count_layers(shapes, q),
        "intermediate_size": shapes[wide][0], "head_dim": head, "num_attention_heads": rows // head,
        "num_key_value_heads": shapes[k.format(0)][0] // head,
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 8192, "use_cache": False,
    }  # fmt: skip
    return TextLayout(f"Llama ({width} wide)", config, width, rules)


KIND = TextEncoderKind(
    class_name="LlamaModel",
    tokenizers=frozenset({"LlamaTokenizer", "LlamaTokenizerFast"}) | ANY_TOKENIZER,
    published=("Llama 3",),
    recognise=recognise,
    host_tokenizer="text_encoders/llama_tokenizer",
)
