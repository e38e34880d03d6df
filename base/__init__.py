"""What all models share: the records of families, geometry, keys, weight changes, recognition."""

from __future__ import annotations

from .defaults import Defaults
from .errors import FamilyError
from .family import Family, Files, Images, Masking, Network, PicturedText, Sampling, Sound, Text, Video
from .folder_part import FolderPart
from .geometry import Geometry
from .loaded import LateTextEncoder, SoundVAE, TextEncoder, VideoModel, VideoVAE
from .lora import LoraNames
from .pictures import Guided, Pictures
from .prompt import Prompt
from .recognise import Near, NotWhole, Recognised, Recognition
from .references import Continuation, References
from .shown import Shown
from .streams import SoundStream, Stream, VideoStream
from .teacache import TeaCache
from .text import TextEncoderKind, TextLayout
from .types import Entry, Shapes
from .variant import Variant
from .weight_changes import Target, WeightChange

__all__ = [
    "Continuation",
    "Defaults",
    "Entry",
    "Family",
    "FamilyError",
    "Files",
    "FolderPart",
    "Geometry",
    "Guided",
    "Images",
    "LateTextEncoder",
    "LoraNames",
    "Masking",
    "Near",
    "Network",
    "NotWhole",
    "PicturedText",
    "Pictures",
    "Prompt",
    "Recognised",
    "Recognition",
    "References",
    "Sampling",
    "Shapes",
    "Shown",
    "Sound",
    "SoundStream",
    "SoundVAE",
    "Stream",
    "Target",
    "TeaCache",
    "Text",
    "TextEncoder",
    "TextEncoderKind",
    "TextLayout",
    "Variant",
    "Video",
    "VideoModel",
    "VideoStream",
    "VideoVAE",
    "WeightChange",
]
