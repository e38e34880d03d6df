"""LoRA files for VideoCrafter2: the original's (lvdm's) names, and which model a LoRA's layers belong to."""

from __future__ import annotations

from collections.abc import Mapping

from ...base import LoraNames, Shapes
from ...base.keys import Rule
from ...base.lora import LayerSizes, width
from ...base.recognise import layers
from .files import unet_rules

_BLOCKS = tuple(f"{side}_blocks.{{}}.{{kind}}.{n}" for side in ("down", "up") for n in range(3))
_LAYERS = tuple(
    f"transformer_blocks.0.attn{n}.{layer}" for n in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")
)


def _signs(kind: str) -> tuple[str, ...]:
    """The layers of one kind of attention, those of the outermost level down first."""
    blocks = [block.replace("{kind}", kind) for block in _BLOCKS]
    return tuple(f"{block}.{layer}" for block in (*blocks, f"mid_block.{kind}.{{}}") for layer in _LAYERS)


_SPACE, _TIME = _signs("attentions"), _signs("temp_attentions")
_FIRST = tuple(f"transformer_in.{layer.replace('blocks.0', 'blocks.{}')}" for layer in _LAYERS)
# Width of the prompt embedding -> the model. VideoCrafter2's spatial layers are those of Stable Diffusion 2.
_PICTURES = {768: "Stable Diffusion 1", 1024: "VideoCrafter2 or Stable Diffusion 2", 2048: "SDXL"}


def _layouts(shapes: Shapes) -> Mapping[str, tuple[Rule, ...]]:
    return {"original": unet_rules(layers(shapes, "down_blocks.0.resnets") or 2, layers(shapes, "down_blocks") or 4)}


def _title(sizes: LayerSizes, blocks: int) -> str:
    # Only the published model's widths, which differ from level to level, are looked for.
    if any(sizes[sign][1] in (320, 512, 640, 1280) for sign in (*_TIME, *_FIRST) if sign in sizes):
        return "VideoCrafter2"
    return _PICTURES.get(width(sizes, *(sign for sign in _SPACE if sign.endswith((".attn2.to_k", ".attn2.to_v")))), "")


LORA = LoraNames(layouts=_layouts, signs=(*_SPACE, *_TIME, *_FIRST), title=_title)
