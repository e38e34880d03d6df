"""MiniMax H3: configs of published files, and the makers' names of their tensors.

The names are ComfyUI 0.33.0's (comfy/ldm/minimax/model.py), which are those of the published files.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from opent2v.base import Shapes, Variant
from opent2v.families.minimax_h3 import FAMILY, files
from opent2v.families.minimax_h3.versions import make_variant

# diffusers' names -> the makers'.
_NAMES = (
    ("token_refiner.refiner_blocks.", "token_refiner.blocks."), ("transformer_blocks.", "blocks."),
    ("time_embedder.adaln_t_table", "adaln_t_table"), ("time_embedder.linear_1.", "time_embedder.proj_in."),
    ("time_embedder.linear_2.", "time_embedder.proj_out."), ("audio_proj_in.", "audio_patch_proj."),
    ("proj_in.", "video_patch_proj."), ("context_embedder.", "condition_proj."),
    ("norm_out.norm.", "final_layer.norm."), ("norm_out.linear.", "final_layer.adaln_proj.linear."),
    ("audio_proj_out.", "final_layer.audio_out."), ("proj_out.", "final_layer.video_out."),
)  # fmt: skip
_INSIDE = (
    ("norm_q.", "q_norm."), ("norm_k.", "k_norm."), ("to_out.0.", "out_proj."), ("ff.net.0.proj.", "mlp.fc1."),
    ("ff.net.2.", "mlp.fc2."),
)  # fmt: skip
PUBLISHED = {
    "num_attention_heads": 56, "attention_head_dim": 128, "hidden_size": 5376, "num_layers": 50,
    "num_refiner_layers": 2, "ffn_dim": 14336, "in_channels": 24, "audio_in_channels": 32, "text_dim": 5120,
    "time_embed_dim": 2688, "rope_freq_dim": 16, "time_embed_hidden_dim": 5376, "freq_dim": 256,
}  # fmt: skip


def config_of(pruned: int = 0, **sizes: int) -> dict[str, Any]:
    """The config of a full file, or of one whose table has this width."""
    config = PUBLISHED | sizes
    if pruned:
        config = {k: v for k, v in config.items() if k not in ("time_embed_hidden_dim", "freq_dim")}
        config["time_embed_dim"] = pruned
    return config


def variant_of(config: dict[str, Any], rows: int = 0) -> Variant:
    return make_variant(FAMILY, config, rows)


def published(table: tuple[int, int] | None = None, **sizes: int) -> tuple[dict[str, Any], Shapes]:
    """(config, names and shapes in the makers' names); `table` of a pruned file: (rows, width)."""
    config = config_of(table[1] if table else 0, **sizes)
    shapes = files.tensors(make_variant(FAMILY, config, table[0] if table else 0), config)
    made = original({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    return config, {name: tuple(tensor.shape) for name, tensor in made.items()} | {
        "rope.inv_freq": (config["rope_freq_dim"],)
    }


def original(weights: dict[str, Tensor], interleaved: int = 0, separate: bool = False) -> dict[str, Tensor]:
    """The makers' names, without the frequencies; `interleaved`: width of a head, where rows are head by head."""
    made: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        for ours, theirs in _NAMES:
            if name.startswith(ours):
                name = theirs + name[len(ours) :]
                break
        for ours, theirs in _INSIDE:
            name = name.replace(ours, theirs)
        if ".mlp.fc1." in name:
            value, gate = tensor.chunk(2)
            tensor = torch.cat([gate, value])
        made[name] = tensor
    for name in [name for name in made if name.endswith(".to_q.weight")]:
        stem = name.removesuffix("to_q.weight")
        parts = [made.pop(f"{stem}to_{part}.weight") for part in "qkv"]
        if separate:
            made |= {f"{stem}{part}_proj.weight": tensor for part, tensor in zip("qkv", parts, strict=True)}
        elif interleaved:
            by_head = torch.stack([part.unflatten(0, (-1, interleaved)) for part in parts], 1)
            made[f"{stem}qkv_proj.weight"] = by_head.flatten(0, 2)
        else:
            made[f"{stem}qkv_proj.weight"] = torch.cat(parts)
    return made
