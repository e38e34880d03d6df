"""LoRA files for Open-Sora 2.0: the original's names, and which model a LoRA's layers belong to."""

from __future__ import annotations

from collections.abc import Mapping

from ...base import LoraNames, Shapes
from ...base.keys import Rule
from ...base.lora import LayerSizes, width
from .files import lora_rules

_WIDTH, _HEAD = 3072, 128
_DOUBLE = tuple(
    f"transformer_blocks.{{}}.attn.{layer}"
    for layer in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
)
_SINGLE = (
    *(f"single_transformer_blocks.{{}}.attn.{layer}" for layer in ("to_q", "to_k", "to_v")),
    "single_transformer_blocks.{}.proj_mlp",
    "single_transformer_blocks.{}.proj_out",
)
_DOUBLE_BLOCKS, _SINGLE_BLOCKS = 19, 38


def _layouts(shapes: Shapes) -> Mapping[str, tuple[Rule, ...]]:
    hidden = shapes.get("transformer_blocks.0.attn.to_out.0.weight", (_WIDTH,))[0]
    head = shapes.get("transformer_blocks.0.attn.norm_q.weight", (_HEAD,))[0]
    return lora_rules(hidden, head)


def _title(sizes: LayerSizes, blocks: int) -> str:
    most = _SINGLE_BLOCKS if any(sign in sizes for sign in _SINGLE) else _DOUBLE_BLOCKS
    hidden = width(sizes, *_DOUBLE, *_SINGLE[:-1])  # the last layer's input is wider than the model
    # Flux, from which Open-Sora 2.0 was built, has the same layers.
    return "Open-Sora 2.0 (or Flux)" if hidden == _WIDTH and blocks <= most else ""


LORA = LoraNames(layouts=_layouts, signs=(*_DOUBLE, *_SINGLE), title=_title)
