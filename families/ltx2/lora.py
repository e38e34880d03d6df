"""LoRA files for LTX-2: the makers' names, and which model a LoRA's layers belong to.

Layers of the picture alone have the names and sizes of LTX-Video 13B's; only those of the sound tell LTX-2.
"""

from __future__ import annotations

from ...base import LoraNames
from ...base.lora import LayerSizes, width
from .files import TRANSFORMER_RULES

_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")
_SOUND = tuple(
    f"transformer_blocks.{{}}.{attention}.{layer}"
    for attention in ("audio_attn1", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn")
    for layer in _LAYERS
)
_PICTURE = (
    *(f"transformer_blocks.{{}}.attn{n}.{layer}" for n in (1, 2) for layer in _LAYERS),
    "transformer_blocks.{}.ff.net.0.proj",
    "transformer_blocks.{}.ff.net.2",
)
_GATES = tuple(f"transformer_blocks.{{}}.{attention}.to_gate_logits" for attention in ("attn1", "audio_attn1"))
_WIDTH = 2048  # of the sound


def _title(sizes: LayerSizes, blocks: int) -> str:
    if width(sizes, "transformer_blocks.{}.audio_attn1.to_q", *_SOUND) not in (_WIDTH, 2 * _WIDTH):
        return ""
    return "LTX-2 2.3 or 2.5" if any(gate in sizes for gate in _GATES) else "LTX-2"


LORA = LoraNames(
    layouts=lambda shapes: {"original": TRANSFORMER_RULES},
    signs=(
        *_PICTURE,
        *_SOUND,
        "transformer_blocks.{}.audio_ff.net.0.proj",
        "transformer_blocks.{}.audio_ff.net.2",
        *_GATES,
    ),
    title=_title,
)
