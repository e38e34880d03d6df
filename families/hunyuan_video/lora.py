"""LoRA files for HunyuanVideo: the original's and ComfyUI's names, and which model a LoRA's layers belong to."""

from __future__ import annotations

from collections.abc import Mapping

from ...base import LoraNames, Shapes
from ...base.keys import Rule
from ...base.lora import LayerSizes, width
from .files import rules

_WIDTH = 3072
_DOUBLE = tuple(
    f"transformer_blocks.{{}}.attn.{layer}"
    for layer in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
)
_SINGLE = tuple(f"single_transformer_blocks.{{}}.attn.{layer}" for layer in ("to_q", "to_k", "to_v"))


def _layouts(shapes: Shapes) -> Mapping[str, tuple[Rule, ...]]:
    hidden = shapes.get("transformer_blocks.0.attn.to_out.0.weight", (_WIDTH,))[0]
    return {"original": rules(hidden)}


def _title(sizes: LayerSizes, blocks: int) -> str:
    hidden = width(sizes, *_DOUBLE, *_SINGLE, "single_transformer_blocks.{}.proj_mlp")
    # Open-Sora 2.0 and Flux have layers of the same names and sizes, but 19 double and 38 single blocks.
    has_single = any(sign.startswith("single") for sign in sizes)
    return "HunyuanVideo" if hidden == _WIDTH and blocks != (38 if has_single else 19) else ""


LORA = LoraNames(
    layouts=_layouts,
    signs=(
        *_DOUBLE,
        *_SINGLE,
        "single_transformer_blocks.{}.proj_mlp",
        "single_transformer_blocks.{}.proj_out",
        "transformer_blocks.{}.ff_context.net.0.proj",
    ),
    title=_title,
    readers={32: "SkyReels V1's image to video models", 33: "HunyuanVideo's image to video models"},
)
