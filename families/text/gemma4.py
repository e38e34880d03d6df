"""Gemma 4: the encoder of LTX-2.5, which reads the states of all its layers.

This is the kind without towers for pictures and sound ("unified", the 12B), whose every sixth layer sees the whole text
with wider heads and takes its keys for its values. Published files hold LTX-2.5's text projection too.

Source: transformers' Gemma4UnifiedTextModel; google/gemma-4-12B-it; ComfyUI 0.33.0, comfy/text_encoders/gemma4.py; for
GGUF files, ggml-org/llama.cpp, gguf-py/gguf/constants.py (GEMMA4).
"""

from __future__ import annotations

from ...base import Shapes
from ...base.keys import Rule, rename
from ...base.text import ANY_TOKENIZER, TextEncoderKind, TextLayout, count_layers

_SLIDING, _EACH_WHOLE = 1024, 6  # tokens that a layer looks back, but for every sixth, which sees the whole text
TOKENIZER = "tokenizer_json"
# Heads of other sizes, pictures and sound, the projection, and what belongs to the tokenizer.
_LEFT_OUT = (
    TOKENIZER, "lm_head", "language_model.lm_head", "text_embedding_projection", "vision_tower", "vision_model",
    "multi_modal_projector", "audio_projector", "vision_embedder", "embed_vision", "audio_embedder", "embed_audio",
    "model.vision_embedder", "model.embed_vision", "model.audio_embedder", "model.embed_audio", "model.vision_tower",
    "model.multi_modal_projector",
)  # fmt: skip
_NAMES = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "q_norm": "self_attn.q_norm", "v": "self_attn.v_proj",
          "scale": "layer_scalar", "wide": "mlp.gate_proj"}  # fmt: skip
_GGUF_NAMES = {"q": "attn_q", "k": "attn_k", "q_norm": "attn_q_norm", "v": "attn_v", "scale": "layer_output_scale",
               "wide": "ffn_gate"}  # fmt: skip
_GGUF_RULES = (
    rename("^output"),
    rename("^rope_freqs"),
    rename("^text_embedding_projection"),
    rename("^token_embd", "embed_tokens"),
    rename("^output_norm", "norm"),
    *(rename(f"^blk.{{}}.attn_{n}", f"layers.{{}}.self_attn.{n}_proj") for n in "qkv"),
    *(rename(f"^blk.{{}}.attn_{n}_norm", f"layers.{{}}.self_attn.{n}_norm") for n in "qk"),
    rename("^blk.{}.attn_output", "layers.{}.self_attn.o_proj"),
    *(rename(f"^blk.{{}}.ffn_{n}", f"layers.{{}}.mlp.{n}_proj") for n in ("gate", "up", "down")),
    rename("^blk.{}.attn_norm", "layers.{}.input_layernorm"),
    rename("^blk.{}.post_attention_norm", "layers.{}.post_attention_layernorm"),
    rename("^blk.{}.ffn_norm", "layers.{}.pre_feedforward_layernorm"),
    rename("^blk.{}.post_ffw_norm", "layers.{}.post_feedforward_layernorm"),
    rename("^blk.{}.layer_output_scale.weight", "layers.{}.layer_scalar"),
)


def recognise(shapes: Shapes) -> TextLayout | None:
    if "token_embd.weight" in shapes:
        return _layout(shapes, "token_embd.weight", "blk.{}.", _GGUF_NAMES, _GGUF_RULES)
    for prefix in ("model.", "language_model.model.", "model.language_model.", ""):
        embedding = f"{prefix}embed_tokens.weight"
        if embedding in shapes and f"{prefix}layers.0.layer_scalar" in shapes:
            rules = [rename(f"^{name}") for name in _LEFT_OUT]
            if prefix:
                rules.append(rename(f"^{prefix.rstrip('.')}", ""))
            return _layout(shapes, embedding, f"{prefix}layers.{{}}.", _NAMES, tuple(rules))
    return None


def _layout(
    shapes: Shapes, embedding: str, layer: str, names: dict[str, str], rules: tuple[Rule, ...]
) -> TextLayout | None:
    """The layout of a file whose layers have these names; None for the kinds with towers or with experts."""

    def rows(n: int, name: str) -> int:
        stem = layer.format(n) + names[name]
        return shapes.get(f"{stem}.weight", shapes.get(stem, (0,)))[0]

    whole = _EACH_WHOLE - 1
    if not rows(0, "scale") or not rows(whole, "q_norm") or rows(whole, "v"):
        return None
    q, k, head, wide = (rows(0, name) for name in ("q", "k", "q_norm", "wide"))
    whole_k, whole_head = (rows(whole, name) for name in ("k", "q_norm"))
    vocabulary, width = shapes[embedding]
    count = count_layers(shapes, f"{layer}{names['q']}.weight")
    config = {
        "vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": count, "head_dim": head,
        "intermediate_size": wide, "num_attention_heads": q // head, "num_key_value_heads": k // head,
        "global_head_dim": whole_head, "num_global_key_value_heads": whole_k // whole_head, "attention_k_eq_v": True,
        "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh", "sliding_window": _SLIDING,
        "max_position_embeddings": 131072, "use_cache": False,
        "layer_types": [
            "sliding_attention" if (n + 1) % _EACH_WHOLE else "full_attention" for n in range(count)
        ],
    }  # fmt: skip
    title = "Gemma 4 12B" if width == 3840 else f"Gemma 4 ({width} wide)"
    return TextLayout(title, config, width, rules)


KIND = TextEncoderKind(
    class_name="Gemma4UnifiedTextModel",
    tokenizers=frozenset({"GemmaTokenizer", "GemmaTokenizerFast"}) | ANY_TOKENIZER,
    published=("Gemma 4 12B",),
    recognise=recognise,
    tokenizer_json=TOKENIZER,
    marks=(2, None),
)
