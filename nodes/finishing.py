"""Finishing steps: settings that Decode to Video File and Finish Frames apply."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from ..host import host
from ..media.finishing import (
    METHODS,
    PLACES,
    Caption,
    ColourMatch,
    Deflicker,
    FrameRate,
    Loop,
    Step,
    Watermark,
    draw_text,
    read_captions,
)
from ..media.settings import exact_fps
from .inputs import FinishingStep, finishing_input, share
from .rgb import rgb

Steps = tuple[Step, ...]


class OpenT2VColourMatch(FinishingStep):
    """Gives every frame the colours of a reference."""

    DESCRIPTION = "Keep colours from drifting: every frame gets those of a reference picture or of the first frame."
    SEARCH_ALIASES: ClassVar = [
        "color match",
        "colour drift",
        "color correction",
        "color transfer",
        "match colors",
        "颜色校正",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"strength": share(1.0, "0: the frames as they are. 1: matched fully.")},
            "optional": {
                "reference": ("IMAGE", {"tooltip": "The colours to have. Not connected: those of the first frame."}),
                "finishing": finishing_input(),
            },
        }

    def add(self, strength: float, reference: Any = None, finishing: Steps = ()) -> tuple[Steps]:
        picture = None if reference is None else rgb(reference, "reference")[:1]
        return ((*finishing, ColourMatch(strength, picture)),)


class OpenT2VDeflicker(FinishingStep):
    """Evens out brightness over time."""

    DESCRIPTION = "Even out frames that are brighter or darker than their neighbours. Motion and slow fades stay."
    SEARCH_ALIASES: ClassVar = ["flicker", "temporal smoothing", "brightness", "luminance", "de-flicker", "闪烁"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "window": (
                    "INT",
                    {
                        "default": 9,
                        "min": 3,
                        "max": 99,
                        "step": 2,
                        "tooltip": "Frames a frame is compared with. More: steadier, but fades are flattened.",
                    },
                ),
                "strength": share(1.0, "0: the frames as they are. 1: evened out fully."),
            },
            "optional": {"finishing": finishing_input()},
        }

    def add(self, window: int, strength: float, finishing: Steps = ()) -> tuple[Steps]:
        return ((*finishing, Deflicker(window, strength)),)


class OpenT2VFrameRate(FinishingStep):
    """Changes the frame rate without changing the speed."""

    DESCRIPTION = "More or fewer frames per second at the same speed, with frames made in between."
    SEARCH_ALIASES: ClassVar = [
        "frame interpolation",
        "fps",
        "smooth",
        "rife",
        "film",
        "slow motion",
        "interpolate frames",
        "video interpolation",
        "插帧",
        "补帧",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "fps": (
                    "FLOAT",
                    {"default": 32.0, "min": 0.1, "max": 240.0, "step": 0.01, "tooltip": "Frames per second to have."},
                ),
                "method": (
                    list(METHODS),
                    {"default": "motion", "tooltip": "motion: follows what moves. blend: faster, leaves ghosts."},
                ),
            },
            "optional": {"finishing": finishing_input()},
        }

    def add(self, fps: float, method: str, finishing: Steps = ()) -> tuple[Steps]:
        return ((*finishing, FrameRate(exact_fps(fps), method)),)


class OpenT2VCaption(FinishingStep):
    """Burns words into the frames."""

    DESCRIPTION = "Burn a caption or timed subtitles (SRT) into the frames, in any script this machine has a font for."
    SEARCH_ALIASES: ClassVar = ["subtitles", "srt", "text overlay", "title", "burn in", "caption video", "字幕"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "text": (
                    "STRING",
                    {
                        "multiline": True,
                        "default": "",
                        "tooltip": "Shown all the time; or subtitles with times, as in an .srt file.",
                    },
                ),
                "position": (list(PLACES), {"default": "bottom", "tooltip": "Where the words stand."}),
                "size": (
                    "FLOAT",
                    {
                        "default": 0.06,
                        "min": 0.01,
                        "max": 0.5,
                        "step": 0.005,
                        "tooltip": "Height of the letters as a share of the picture's height.",
                    },
                ),
                "opacity": share(1.0, "0: invisible. 1: solid."),
            },
            "optional": {"finishing": finishing_input()},
        }

    def add(self, text: str, position: str, size: float, opacity: float, finishing: Steps = ()) -> tuple[Steps]:
        lines, fonts = tuple(read_captions(text)), tuple(host.model_roots("fonts"))
        for line in lines:
            draw_text(line.text, 16, 4096, fonts=fonts)  # reports a missing letter before the sampler starts
        return ((*finishing, Caption(lines, position, size, opacity, fonts)),)


class OpenT2VWatermark(FinishingStep):
    """Lays a picture over the frames."""

    DESCRIPTION = "Lay a picture over every frame, such as a logo or a note that the video was generated."
    SEARCH_ALIASES: ClassVar = ["logo", "overlay", "picture in picture", "visible watermark", "video watermark"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The picture; the first one of a batch. Its alpha is used."}),
                "position": (list(PLACES), {"default": "bottom right", "tooltip": "Where it lies."}),
                "scale": (
                    "FLOAT",
                    {
                        "default": 0.2,
                        "min": 0.01,
                        "max": 1.0,
                        "step": 0.01,
                        "tooltip": "Its width as a share of the frame's.",
                    },
                ),
                "opacity": share(0.5, "0: invisible. 1: solid."),
            },
            "optional": {
                "mask": ("MASK", {"tooltip": "Load Image's mask: what it covers stays invisible."}),
                "finishing": finishing_input(),
            },
        }

    def add(
        self, image: Any, position: str, scale: float, opacity: float, mask: Any = None, finishing: Steps = ()
    ) -> tuple[Steps]:
        picture = torch.cat([rgb(image, "image")[0], image[0, ..., 3:]], -1)
        if mask is not None:
            hidden = mask.reshape(-1, *mask.shape[-2:])[:1]
            # Load Image hands out 64 x 64 zeros for a picture without alpha.
            if hidden.shape[1:] != picture.shape[:2]:
                hidden = torch.nn.functional.interpolate(hidden[None], tuple(picture.shape[:2]), mode="bilinear")[0]
            picture = torch.cat([picture[..., :3], 1 - hidden[0].to(picture)[..., None]], dim=-1)
        return ((*finishing, Watermark(picture, position, scale, opacity)),)


class OpenT2VLoop(FinishingStep):
    """Makes the end of a video lead back to its beginning."""

    DESCRIPTION = "Make a video that can be repeated without a jump."
    SEARCH_ALIASES: ClassVar = ["ping pong", "boomerang", "seamless loop", "loop video", "循环视频"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "fade": (
                    "INT",
                    {
                        "default": 8,
                        "min": 0,
                        "max": 1000,
                        "tooltip": "Frames of the end that fade into the beginning. 0: the video runs back instead.",
                    },
                )
            },
            "optional": {"finishing": finishing_input()},
        }

    def add(self, fade: int, finishing: Steps = ()) -> tuple[Steps]:
        return ((*finishing, Loop(fade)),)
