"""LoRA files for LTX-2: the makers' names, and which model a LoRA's layers belong to.

Layers of the picture alone have the names and sizes of LTX-Video 13B's; only those of the sound tell LTX-2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...base import LoraNames, Variant
from ...base.keys import rename
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


# "LTX-2.3", "ltx2_3", "ltx_2.3_22b", "LTX23"; "ltx-2-19b" is 2.0.
_VERSION = re.compile(r"ltx[-_ ]?(?:v|video)?[-_ ]?2(?:[-_. ]?([035])(?![0-9]))?(?![0-9b])", re.IGNORECASE)


def other_version(variant: Variant, texts: Sequence[str]) -> str:
    """See `LoraNames.other_version`: the layers of 2.3 and 2.5 have the same sizes, and nearly those of 2.0."""
    for text in texts:
        if stated := _VERSION.search(text):
            version = f"2.{stated[1] or 0}"
            return "" if version == variant.facts["version"] else f"LTX-2 {version}"
    return ""


LORA = LoraNames(
    # diffusers saves the connectors' layers beside the transformer's, in which they are here.
    layouts=lambda shapes: {"original": TRANSFORMER_RULES, "diffusers": (rename("^connectors", ""),)},
    signs=(
        *_PICTURE,
        *_SOUND,
        "transformer_blocks.{}.audio_ff.net.0.proj",
        "transformer_blocks.{}.audio_ff.net.2",
        *_GATES,
    ),
    title=_title,
    other_version=other_version,
)
