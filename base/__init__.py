"""What is true of every model: the records of families, geometry, keys, weight changes, recognition."""

from __future__ import annotations

from .errors import FamilyError
from .family import Defaults, Family, Prompt, Variant
from .geometry import Geometry, Sound
from .loaded import TextEncoder, VideoModel, VideoVAE
from .lora import LoraNames
from .pictures import Guided, Pictures
from .recognise import Near, NotWhole, Recognised
from .teacache import TeaCache
from .types import Entry, Shapes
from .weight_changes import Target, WeightChange

__all__ = [
    "Defaults",
    "Entry",
    "Family",
    "FamilyError",
    "Geometry",
    "Guided",
    "LoraNames",
    "Near",
    "NotWhole",
    "Pictures",
    "Prompt",
    "Recognised",
    "Shapes",
    "Sound",
    "Target",
    "TeaCache",
    "TextEncoder",
    "Variant",
    "VideoModel",
    "VideoVAE",
    "WeightChange",
]
