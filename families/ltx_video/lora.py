"""LoRA files for LTX-Video: the original's names, and which model a LoRA's layers belong to."""

from __future__ import annotations

from ...base import LoraNames
from ...base.lora import LayerSizes, width
from .files import TRANSFORMER_RULES

_ATTENTION = tuple(
    f"transformer_blocks.{{}}.attn{n}.{layer}" for n in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")
)
_TITLES = {2048: "LTX-Video 2B", 4096: "LTX-Video 13B"}


def _title(sizes: LayerSizes, blocks: int) -> str:
    return _TITLES.get(
        width(
            sizes,
            "transformer_blocks.{}.attn1.to_q",
            "transformer_blocks.{}.attn1.to_v",
            "transformer_blocks.{}.attn2.to_q",
            "transformer_blocks.{}.ff.net.0.proj",
        ),
        "",
    )


LORA = LoraNames(
    layouts=lambda shapes: {"original": TRANSFORMER_RULES},
    signs=(*_ATTENTION, "transformer_blocks.{}.ff.net.0.proj", "transformer_blocks.{}.ff.net.2"),
    title=_title,
)
