"""Qwen3-VL's language model: MiniMax H3's encoder, which reads the state behind layer 50, not normed.

The pictures of a prompt go through the vision tower, an encoder of its own (`qwen3_vl_vision`). Comfy-Org's files end
with layer 50 and hold both; GGUF files have the vision tower in a second one (mmproj).

Source: transformers' Qwen3VLTextModel; ComfyUI 0.33.0, comfy/text_encoders/minimax.py and llama.py
(Qwen3VL_32BConfig); for GGUF files, ggml-org/llama.cpp, gguf-py/gguf/constants.py (names).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ...base import Shapes
from ...base.keys import rename, renamed_shapes
from ...base.text import ANY_TOKENIZER, TextEncoderKind, TextLayout, count_layers

LAYERS = 50  # that MiniMax H3 reads
_TURNS = (24, 20, 20)  # of 64 rotations of a head: for time, height and width
_TITLES = {2560: "Qwen3-VL 4B", 4096: "Qwen3-VL 8B", 5120: "Qwen3-VL 32B"}
_GGUF = (
    ("attn_q", "self_attn.q_proj"), ("attn_k", "self_attn.k_proj"), ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"), ("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_gate", "mlp.gate_proj"), ("ffn_up", "mlp.up_proj"), ("ffn_down", "mlp.down_proj"),
    ("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm"),
)  # fmt: skip
_GGUF_RULES = (
    rename("^token_embd", "embed_tokens"),
    rename("^output_norm", "norm"),
    rename("^output"),
    *(rename(f"^blk.{{}}.{theirs}", f"layers.{{}}.{ours}") for theirs, ours in _GGUF),
)


def recognise(shapes: Shapes) -> TextLayout | None:
    """The language model alone: its names begin with "layers." or, in GGUF files, with "blk."."""
    gguf = _GGUF_RULES if "token_embd.weight" in shapes else ()
    named = renamed_shapes(shapes, gguf)
    q, k = ("layers.{}.self_attn." + name for name in ("q_proj.weight", "k_proj.weight"))
    norms = "layers.0.self_attn.q_norm.weight", "layers.0.self_attn.k_norm.weight"
    # Gemma's and Qwen 2's, by either names.
    others = "layers.0.pre_feedforward_layernorm.weight", "layers.0.self_attn.q_proj.bias"
    if "blk.0.post_attention_norm.weight" in shapes or "blk.0.attn_q.bias" in shapes:
        return None
    needed = (q.format(0), "embed_tokens.weight", *norms)
    if any(name not in named for name in needed) or any(name in named for name in others):
        return None
    vocabulary, width = named["embed_tokens.weight"]
    count, head = count_layers(named, q), named[norms[0]][0]
    config = {
        "vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": min(count, LAYERS), "head_dim": head,
        "intermediate_size": named["layers.0.mlp.gate_proj.weight"][0],
        "num_attention_heads": named[q.format(0)][0] // head, "num_key_value_heads": named[k.format(0)][0] // head,
        "rms_norm_eps": 1e-6, "rope_theta": 5e6, "max_position_embeddings": 262144, "use_cache": False,
        "rope_scaling": {"rope_type": "default", "mrope_section": list(_turns(head)), "mrope_interleaved": True},
    }  # fmt: skip
    left_out = (*(rename(f"^layers.{n}") for n in range(LAYERS, count)), rename("^norm"), rename("^lm_head"))
    return TextLayout(_TITLES.get(width, f"Qwen3-VL ({width} wide)"), config, width, (*gguf, *left_out))


def _turns(head: int) -> Sequence[int]:
    """How many rotations of a head stand for time, height and width."""
    return _TURNS if head == 128 else (head // 2 - 2 * (head // 6), head // 6, head // 6)


def without_norm(module: nn.Module) -> None:
    """MiniMax H3 reads the last layer's state as it is."""
    module.norm = nn.Identity()


KIND = TextEncoderKind(
    class_name="Qwen3VLTextModel",
    tokenizers=frozenset({"Qwen2Tokenizer", "Qwen2TokenizerFast"}) | ANY_TOKENIZER,
    published=("Qwen3-VL 32B",),
    recognise=recognise,
    host_tokenizer="text_encoders/qwen25_tokenizer",
    extend=without_norm,
)
