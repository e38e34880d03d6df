"""Qwen3-VL's vision tower: it makes a language model's tokens of the pictures in a prompt.

Source: transformers' Qwen3VLVisionModel; ComfyUI 0.33.0, comfy/text_encoders/qwen3vl.py (sizes); for GGUF files
(mmproj), ggml-org/llama.cpp, gguf-py/gguf/constants.py and convert_hf_to_gguf.py.
"""

from __future__ import annotations

from ...base import Shapes
from ...base.keys import Rule, rename
from ...base.text import TextEncoderKind, TextLayout, count_layers

_HEADS = 16
_GGUF = (
    ("attn_qkv", "attn.qkv"), ("attn_out", "attn.proj"), ("ffn_up", "mlp.linear_fc1"), ("ffn_down", "mlp.linear_fc2"),
    ("ln1", "norm1"), ("ln2", "norm2"),
)  # fmt: skip


def recognise(shapes: Shapes) -> TextLayout | None:
    """The vision tower alone: its names begin with "blocks." or, in GGUF files, with "v."."""
    if "v.patch_embd.weight" in shapes:
        return _gguf(shapes)
    if any(name not in shapes for name in ("patch_embed.proj.weight", "deepstack_merger_list.0.norm.weight")):
        return None
    depth = count_layers(shapes, "blocks.{}.attn.qkv.weight")
    deep = count_layers(shapes, "deepstack_merger_list.{}.norm.weight")
    width, channels, frames, patch = shapes["patch_embed.proj.weight"][:4]
    step = (depth + 1) // (deep + 1)  # 24 layers hand on the state of 5, 11 and 17; 27 that of 8, 16 and 24
    places = [n * 8 if depth == 27 else n * step - 1 for n in range(1, deep + 1)]
    sizes = shapes["blocks.0.mlp.linear_fc1.weight"][0], shapes["merger.linear_fc2.weight"][0]
    return _layout(depth, width, (channels, frames, patch), *sizes, shapes["pos_embed.weight"][0], places, ())


def _gguf(shapes: Shapes) -> TextLayout | None:
    places = sorted(int(name.split(".")[2]) for name in shapes if name.startswith("v.deepstack.") and "norm.w" in name)
    if not places or "mm.2.weight" not in shapes or "v.patch_embd.weight.1" not in shapes:
        return None
    depth, width = count_layers(shapes, "v.blk.{}.attn_qkv.weight"), shapes["v.patch_embd.weight"][0]
    rules: tuple[Rule, ...] = (
        rename("^v.patch_embd.weight.1", "patch_embed.proj.weight", place=1),
        rename("^v.patch_embd.weight", "patch_embed.proj.weight", place=0),
        rename("^v.patch_embd", "patch_embed.proj"),
        rename("^v.position_embd", "pos_embed"),
        rename("^v.post_ln", "merger.norm"),
        rename("^mm.0", "merger.linear_fc1"),
        rename("^mm.2", "merger.linear_fc2"),
        *(rename(f"^v.blk.{{}}.{theirs}", f"blocks.{{}}.{ours}") for theirs, ours in _GGUF),
        *(
            rename(f"^v.deepstack.{place}.{theirs}", f"deepstack_merger_list.{n}.{ours}")
            for n, place in enumerate(places)
            for theirs, ours in (("norm", "norm"), ("fc1", "linear_fc1"), ("fc2", "linear_fc2"))
        ),
    )
    _, channels, patch, _ = shapes["v.patch_embd.weight"]
    sizes = shapes["v.blk.0.ffn_up.weight"][0], shapes["mm.2.weight"][0]
    return _layout(depth, width, (channels, 2, patch), *sizes, shapes["v.position_embd.weight"][0], places, rules)


def _layout(
    depth: int,
    width: int,
    patch: tuple[int, int, int],
    inner: int,
    text: int,
    positions: int,
    places: list[int],
    rules: tuple[Rule, ...],
) -> TextLayout:
    """
    Args:
        patch: channels, frames and side of a patch.
        text: width of the language model.
        places: the layers whose states go to the language model's first layers as well.
    """
    channels, frames, side = patch
    config = {
        "depth": depth, "hidden_size": width, "intermediate_size": inner, "num_heads": _HEADS, "in_channels": channels,
        "patch_size": side, "temporal_patch_size": frames, "spatial_merge_size": 2, "out_hidden_size": text,
        "num_position_embeddings": positions, "deepstack_visual_indexes": places,
    }  # fmt: skip
    return TextLayout(f"Qwen3-VL's vision tower ({text} wide)", config, text, rules)


KIND = TextEncoderKind(
    class_name="Qwen3VLVisionModel",
    tokenizers=frozenset(),
    published=("its vision tower (mmproj)",),
    recognise=recognise,
    reads_prompts=False,
    is_vision=True,
)
