"""Gemma 3: the encoder of LTX-2 and 2.3, which read the states of all its layers.

Source: transformers' Gemma3TextModel; google/gemma-3-12b-it; for GGUF files, ggml-org/llama.cpp,
gguf-py/gguf/constants.py (GEMMA3) and its conversion, which adds 1 to the norms' weights.
"""

from __future__ import annotations

from torch import Tensor

from ...base import Shapes
from ...base.keys import Rule, rename, renamed_shapes
from ...base.text import ANY_TOKENIZER, TextEncoderKind, TextLayout, count_layers

_SLIDING, _EACH_WHOLE = 1024, 6  # tokens that a layer looks back, but for every sixth, which sees the whole text
_LEFT_OUT = (
    "spiece_model", "text_embedding_projection", "lm_head", "language_model.lm_head", "vision_tower", "vision_model",
    "multi_modal_projector", "model.vision_tower", "model.multi_modal_projector",
)  # fmt: skip


def _without_one(weight: Tensor) -> list[Tensor]:
    return [weight - 1]


def _norm(source: str, target: str) -> Rule:
    return rename(f"^{source}", target, split=_without_one, is_last=True)


_GGUF_RULES = (
    rename("^output.weight"),
    rename("^text_embedding_projection"),
    rename("^token_embd", "embed_tokens"),
    _norm("output_norm", "norm"),
    *(rename(f"^blk.{{}}.attn_{n}", f"layers.{{}}.self_attn.{n}_proj") for n in "qkv"),
    *(_norm(f"blk.{{}}.attn_{n}_norm", f"layers.{{}}.self_attn.{n}_norm") for n in "qk"),
    rename("^blk.{}.attn_output", "layers.{}.self_attn.o_proj"),
    *(rename(f"^blk.{{}}.ffn_{n}", f"layers.{{}}.mlp.{n}_proj") for n in ("gate", "up", "down")),
    _norm("blk.{}.attn_norm", "layers.{}.input_layernorm"),
    _norm("blk.{}.post_attention_norm", "layers.{}.post_attention_layernorm"),
    _norm("blk.{}.ffn_norm", "layers.{}.pre_feedforward_layernorm"),
    _norm("blk.{}.post_ffw_norm", "layers.{}.post_feedforward_layernorm"),
)


def _in_our_names(shapes: Shapes) -> Shapes:
    """The shapes of a GGUF file that may be a Gemma 3's; no others than these have both norms, and Gemma 4 a scale."""
    is_ours = "blk.0.attn_q_norm.weight" in shapes and "blk.0.post_ffw_norm.weight" in shapes
    if not is_ours or "blk.0.layer_output_scale.weight" in shapes:
        return {}
    return renamed_shapes(shapes, _GGUF_RULES)


def recognise(shapes: Shapes) -> TextLayout | None:
    is_gguf = "token_embd.weight" in shapes
    if is_gguf:
        shapes = _in_our_names(shapes)
    for prefix in ("model.", "language_model.model.", "model.language_model.", ""):
        q, k = (f"{prefix}layers.{{}}.self_attn.{n}_proj.weight" for n in "qk")
        if q.format(0) in shapes and f"{prefix}embed_tokens.weight" in shapes:
            break
    else:
        return None
    # Qwen 3 has these norms of the queries and Gemma 2 the others, Gemma 4 has a number for each layer besides.
    norms = f"{prefix}layers.0.self_attn.q_norm.weight", f"{prefix}layers.0.pre_feedforward_layernorm.weight"
    if any(norm not in shapes for norm in norms) or f"{prefix}layers.0.layer_scalar" in shapes:
        return None
    vocabulary, width = shapes[f"{prefix}embed_tokens.weight"]
    count, head = count_layers(shapes, q), shapes[norms[0]][0]
    whole = [(n + 1) % _EACH_WHOLE == 0 for n in range(count)]
    config = {
        "vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": count, "head_dim": head,
        "intermediate_size": shapes[f"{prefix}layers.0.mlp.gate_proj.weight"][0],
        "num_attention_heads": shapes[q.format(0)][0] // head, "num_key_value_heads": shapes[k.format(0)][0] // head,
        "query_pre_attn_scalar": head, "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh",
        "rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "sliding_window": _SLIDING, "max_position_embeddings": 131072, "use_cache": False,
        "layer_types": ["full_attention" if is_whole else "sliding_attention" for is_whole in whole],
    }  # fmt: skip
    rules = list(_GGUF_RULES) if is_gguf else [rename(f"^{name}") for name in _LEFT_OUT]
    if prefix:
        rules.append(rename(f"^{prefix.rstrip('.')}", ""))
    title = "Gemma 3 12B" if width == 3840 else f"Gemma 3 ({width} wide)"
    return TextLayout(title, config, width, tuple(rules))


KIND = TextEncoderKind(
    class_name="Gemma3TextModel",
    tokenizers=frozenset({"GemmaTokenizer", "GemmaTokenizerFast"}) | ANY_TOKENIZER,
    published=("Gemma 3 12B",),
    recognise=recognise,
    spiece="spiece_model",
    marks=(2, None),
)
