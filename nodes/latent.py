"""Sizes and lengths a model can make, and the empty latent of one."""

from __future__ import annotations

from typing import Any, ClassVar

from ..base import FamilyError, Variant
from ..host import host
from ..sampling.streams import empty_streams
from .inputs import require_variant
from .remarks import with_remarks
from .sizes import size_of, used_size

AS_SET = "as set"
RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "2:1", "1:2", "2.39:1", "1:2.39")


class OpenT2VEmptyLatent:
    """An empty latent of a size and length the model can make."""

    CATEGORY = "OpenT2V"
    FUNCTION = "create"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("LATENT", "INT", "INT", "INT", "FLOAT")
    RETURN_NAMES = ("latent", "width", "height", "frames", "fps")
    OUTPUT_TOOLTIPS = (
        "Empty latent for the sampler.",
        "Width in pixels, as used.",
        "Height in pixels, as used.",
        "Number of frames, as used.",
        "Frames per second the model was trained at.",
    )
    DESCRIPTION = "Choose size and length. 0 takes the model's own; other values go to the nearest the model can make."
    SEARCH_ALIASES: ClassVar = [
        "empty video latent",
        "size",
        "frames",
        "length",
        "text to video",
        "t2v",
        "resolution",
        "aspect ratio",
        "empty latent",
        "文生视频",
        "空 Latent",
        "视频尺寸",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        def number(what: str, limit: int) -> tuple[str, dict[str, Any]]:
            return ("INT", {"default": 0, "min": 0, "max": limit, "step": 1, "tooltip": f"{what} 0: the model's own."})

        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The video model; it knows its own sizes."}),
                "width": number("Width in pixels.", 16384),
                "height": number("Height in pixels.", 16384),
                "frames": number("Number of frames; divided by fps it is the length in seconds.", 16384),
            },
            "optional": {
                "aspect_ratio": (
                    [AS_SET, *RATIOS],
                    {
                        "default": AS_SET,
                        "tooltip": "Width to height, in place of the two numbers: as many pixels as area says.",
                    },
                ),
                "area": (
                    "INT",
                    {
                        "advanced": True,
                        "default": 0,
                        "min": 0,
                        "max": 8192,
                        "step": 16,
                        "tooltip": "With an aspect ratio: as many pixels as a square of this side. Open-Sora 2.0 was "
                        "made for 256 and 768. 0: the model's own.",
                    },
                ),
                "fps": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 1000.0,
                        "step": 0.01,
                        "tooltip": "For models with sound (LTX-2): frames per second, by which the sound's length is "
                        "found; the same as in Encode Video Prompt or LTXVConditioning. 0: the model's own.",
                        "advanced": True,
                    },
                ),
                "seconds": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 10000.0,
                        "step": 0.1,
                        "tooltip": "Length in seconds, in place of frames. 0: as frames says.",
                        "advanced": True,
                    },
                ),
                "sound": (
                    "BOOLEAN",
                    {
                        "default": True,
                        "tooltip": "For models with sound: off makes the picture alone, where the model can (LTX-2).",
                        "advanced": True,
                    },
                ),
            },
        }

    def create(
        self,
        model: Any,
        width: int,
        height: int,
        frames: int,
        aspect_ratio: str = AS_SET,
        area: int = 0,
        fps: float = 0.0,
        seconds: float = 0.0,
        sound: bool = True,
    ) -> dict[str, Any]:
        variant = require_variant(model)
        if aspect_ratio != AS_SET:
            width, height = size_of(variant, aspect_ratio, area)
        elif area:
            raise FamilyError(f"area is {area}, and no aspect ratio is chosen. Choose one, or set area to 0.")
        frames, fps = _length(variant, frames, seconds, fps)
        (width, height, frames), remarks = used_size(variant, width, height, frames, fps)
        streams = variant.streams if sound else [stream for stream in variant.streams if stream.name == "video"]
        if not sound and any(stream.is_needed for stream in variant.streams if stream not in streams):
            raise FamilyError(f"{variant.title} makes no picture without its sound. Switch sound on.")
        samples = host.nested(empty_streams(streams, width, height, frames, fps))
        if len(streams) > 1:
            remarks.append("With sound")
        return with_remarks(({"samples": samples}, width, height, frames, fps), remarks)


def _length(variant: Variant, frames: int, seconds: float, fps: float) -> tuple[int, float]:
    """(frames, frames per second) of a length in frames or in seconds; 0 is the model's own."""
    if fps and not (variant.sound and variant.family.network.reads_rate):
        raise FamilyError(
            f"fps is {fps:g}; {variant.title} makes {variant.defaults.fps:g} frames per second only. Set fps to 0."
        )
    fps = fps or variant.defaults.fps
    if seconds and frames:
        raise FamilyError(f"frames is {frames} and seconds {seconds:g}; a video has one length. Set one of them to 0.")
    return max(1, round(seconds * fps)) if seconds else frames, fps
