"""Llama 3: HunyuanVideo's encoder.

Source: transformers' LlamaModel; xtuner/llava-llama-3-8b-v1_1-transformers.
"""

from __future__ import annotations

from ...base import Shapes
from ...base.keys import rename
from ...base.text import ANY_TOKENIZER, TextEncoderKind, TextLayout, count_layers

# Qwen and Gemma are other networks with the same names; these norms and biases distinguish them.
_OTHERS = ("layers.0.self_attn.q_proj.bias", "layers.0.pre_feedforward_layernorm.weight")


def recognise(shapes: Shapes) -> TextLayout | None:
    for prefix in ("model.", "language_model.model.", ""):
        q, k = (f"{prefix}layers.{{}}.self_attn.{n}_proj.weight" for n in "qk")
        if q.format(0) in shapes and f"{prefix}embed_tokens.weight" in shapes:
            break
    else:
        return None
    if any(f"{prefix}{name}" in shapes for name in _OTHERS):
        return None
    vocabulary, width = shapes[f"{prefix}embed_tokens.weight"]
    head = 128 if shapes[q.format(0)][0] % 128 == 0 else 8
    config = {
        "vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": count_layers(shapes, q),
        "intermediate_size": shapes[f"{prefix}layers.0.mlp.gate_proj.weight"][0], "head_dim": head,
        "num_attention_heads": shapes[q.format(0)][0] // head, "num_key_value_heads": shapes[k.format(0)][0] // head,
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 8192, "use_cache": False,
    }  # fmt: skip
    left_out = ("lm_head", "language_model.lm_head", "vision_tower", "multi_modal_projector", "vision_model")
    rules = [rename(f"^{name}") for name in left_out]
    if prefix:
        rules.append(rename(f"^{prefix.rstrip('.')}", ""))
    return TextLayout(f"Llama ({width} wide)", config, width, tuple(rules))


KIND = TextEncoderKind(
    class_name="LlamaModel",
    tokenizers=frozenset({"LlamaTokenizer", "LlamaTokenizerFast"}) | ANY_TOKENIZER,
    published=("Llama 3",),
    recognise=recognise,
    host_tokenizer="text_encoders/llama_tokenizer",
)
