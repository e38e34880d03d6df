"""LoRA files for Wan: the makers' names, and which model a LoRA's layers belong to."""

from __future__ import annotations

from ...base import LoraNames
from ...base.keys import rename
from ...base.lora import LayerSizes, width
from .files import TRANSFORMER

# Modulation tables, which step-distilled LoRAs change along with the layers.
_TABLES = (rename("^blocks.{}.diff_m", "blocks.{}.scale_shift_table"), rename("^head.diff_m", "scale_shift_table"))
_TITLES = {1536: "Wan 2.1 T2V 1.3B", 3072: "Wan 2.2 TI2V 5B", 5120: "Wan 2.1 T2V 14B or Wan 2.2 A14B"}
_IMAGE = "blocks.{}.attn2.add_k_proj"


def _title(sizes: LayerSizes, blocks: int) -> str:
    if _IMAGE in sizes:
        return "Wan 2.1 I2V 14B"
    hidden = width(
        sizes, "blocks.{}.attn1.to_q", "blocks.{}.attn1.to_v", "blocks.{}.attn2.to_q", "blocks.{}.ffn.net.0.proj"
    )
    return _TITLES.get(hidden, f"a Wan model {hidden} wide" if hidden else "Wan")


LORA = LoraNames(
    layouts=lambda shapes: {"original": (*_TABLES, *TRANSFORMER)},
    signs=(
        *(f"blocks.{{}}.attn{n}.{layer}" for n in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")),
        "blocks.{}.ffn.net.0.proj",
        "blocks.{}.ffn.net.2",
        _IMAGE,
    ),
    title=_title,
    readers={
        36: "Wan's image to video and Fun InP models",
        48: "Wan 2.1 Fun Control models",
        52: "Wan 2.2 Fun Control models",
    },
)
