"""LoRA files for Mochi: the original's names, and which model a LoRA's layers belong to."""

from __future__ import annotations

from collections.abc import Mapping

from ...base import LoraNames, Shapes
from ...base.keys import Rule
from ...base.lora import LayerSizes, width
from ...base.recognise import layers
from .files import transformer_rules

_VIDEO = tuple(f"transformer_blocks.{{}}.attn1.{layer}" for layer in ("to_q", "to_k", "to_v"))
_TEXT = tuple(
    f"transformer_blocks.{{}}.attn1.{layer}" for layer in ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
)


def _layouts(shapes: Shapes) -> Mapping[str, tuple[Rule, ...]]:
    return {"original": transformer_rules(layers(shapes, "transformer_blocks") or 48)}


def _title(sizes: LayerSizes, blocks: int) -> str:
    has_text = any(sign in sizes for sign in (*_TEXT, "transformer_blocks.{}.ff_context.net.0.proj"))
    # LoRAs without text layers look like CogVideoX 5B's, which has 42 blocks.
    return "Mochi 1" if width(sizes, *_VIDEO) == 3072 and (has_text or 42 < blocks <= 48) else ""


def _alpha_key(stem: str) -> str:
    """Genmo's trainer has one setting for the fused projections and one for the last."""
    return "qkv_proj_lora_alpha" if ".qkv_" in stem else "out_proj_lora_alpha"


LORA = LoraNames(
    layouts=_layouts,
    signs=(*_VIDEO, *_TEXT, "transformer_blocks.{}.ff_context.net.0.proj"),
    title=_title,
    alpha=("kwargs", _alpha_key),
)
