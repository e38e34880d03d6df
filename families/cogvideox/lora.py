"""LoRA files for CogVideoX: SAT's and ComfyUI's names, and which model a LoRA's layers belong to."""

from __future__ import annotations

from ...base import LoraNames
from ...base.lora import LayerSizes, width
from .files import COMFYUI, SAT

_ATTENTION = tuple(f"transformer_blocks.{{}}.attn1.{layer}" for layer in ("to_q", "to_k", "to_v", "to_out.0"))
# Width -> (title, number of blocks). The number is compared because Mochi's layers have the same names and sizes, in
# more blocks.
_TITLES = {1920: ("CogVideoX 2B", 30), 3072: ("CogVideoX 5B", 42)}


def _title(sizes: LayerSizes, blocks: int) -> str:
    title, most = _TITLES.get(width(sizes, *_ATTENTION, "transformer_blocks.{}.ff.net.0.proj"), ("", 0))
    return title if blocks <= most else ""


LORA = LoraNames(
    layouts=lambda shapes: {"ComfyUI": COMFYUI, "original": SAT},
    signs=(*_ATTENTION, "transformer_blocks.{}.ff.net.0.proj", "transformer_blocks.{}.norm1.linear"),
    title=_title,
)
