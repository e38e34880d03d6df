"""Finishing of frames between decoding and saving: plain torch, in constant memory."""

from .captions import read_captions
from .chain import Step, finish
from .check import ACTIONS, ContentCheck, ContentFound
from .colour import ColourMatch, anchored
from .deflicker import Deflicker
from .fonts import FontError
from .join import Loop, join
from .overlay import PLACES, Caption, Watermark, draw_text
from .rate import METHODS, FrameRate

__all__ = [
    "ACTIONS",
    "METHODS",
    "PLACES",
    "Caption",
    "ColourMatch",
    "ContentCheck",
    "ContentFound",
    "Deflicker",
    "FontError",
    "FrameRate",
    "Loop",
    "Step",
    "Watermark",
    "anchored",
    "draw_text",
    "finish",
    "join",
    "read_captions",
]
