"""Sizes and lengths a model can make, and the empty latent of one."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch

from .. import host
from ..base import FamilyError, Variant
from ..families import families
from .remarks import with_remarks

AS_SET = "as set"
RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "2:1", "1:2", "2.39:1", "1:2.39")


def known(model: Any) -> Variant:
    variant = host.variant(model)
    if variant is None:
        title = host.title(model)
        raise FamilyError(
            f"No family here recognises this MODEL{title and f' ({title})'}, so its sizes and schedule are not known "
            f"(known: {', '.join(family.title for family in families().values())}). "
            "Sample it with ComfyUI's own empty latent and KSampler, or take a model from Load Video Model."
        )
    return variant


def used_size(
    variant: Variant, width: int, height: int, frames: int, fps: float = 0.0
) -> tuple[tuple[int, int, int], list[str]]:
    """((width, height, frames) as the model can make them, 0 for its own; remarks that say so)."""
    own = variant.defaults
    fps = fps or own.fps
    asked = (width or own.width, height or own.height, frames or own.frames)
    used = variant.geometry.legal(*asked)
    remarks = [f"{used[0]} x {used[1]}, {used[2]} frames at {fps:g} fps ({used[2] / fps:.1f} s)"]
    changed = [f"{n} {a} -> {u}" for n, a, u in zip(("width", "height", "frames"), asked, used, strict=True) if a != u]
    if changed:
        frames = variant.geometry.frame_rule
        rule = f"sizes are multiples of {variant.geometry.multiple}" + (f", frames {frames}" if frames else "")
        remarks.append(f"Changed to what the model can make: {', '.join(changed)} ({rule}).")
    return used, remarks


def size_of(variant: Variant, aspect_ratio: str, area: int) -> tuple[int, int]:
    """(width, height) of a ratio with as many pixels as a square of side `area`, or as the model's own size has.

    Source: hpcaitech/Open-Sora @7ad6a96, opensora/datasets/aspect.py (the order of rounding).
    """
    across, down = map(float, aspect_ratio.split(":"))
    if across < down:  # the same size as the landscape's, turned
        height, width = size_of(variant, ":".join(reversed(aspect_ratio.split(":"))), area)
        return width, height
    step, own = variant.geometry.multiple, variant.defaults
    pixels = area**2 or own.width * own.height
    width = max(step, int(math.sqrt(pixels * across / down) // step) * step)
    return width, max(step, int(pixels / width // step) * step)


# What nodes that make an empty LATENT say of it: pixels to a latent pixel, frames to a latent frame.
SCALES = ("downscale_ratio_spacial", "downscale_ratio_temporal")


def in_models_scale(variant: Variant, latent: dict[str, Any]) -> dict[str, Any]:
    """The LATENT; an empty one of another model's scale in the size and length in pixels that were asked for.

    Source: ComfyUI 0.33.0, comfy/sample.py, fix_empty_latent_channels. Older hosts' nodes do not state a scale.
    """
    samples, rest = latent["samples"], {key: value for key, value in latent.items() if key not in SCALES}
    if samples.is_nested or samples.ndim not in (4, 5) or bool(samples.any()):
        return {**rest, "samples": samples}
    geometry, (spatial, temporal) = variant.geometry, (latent.get(key) for key in SCALES)
    batch, _, *sizes = samples.shape
    frames, height, width = sizes if len(sizes) == 3 else (1, *sizes)
    if spatial:
        height, width = (round(side * spatial / geometry.spatial) for side in (height, width))
    if temporal:
        frames = max(1, round(frames * temporal / geometry.temporal))
    return {**rest, "samples": samples.new_zeros(batch, geometry.channels, frames, height, width)}


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
                        "found; the same as in LTXVConditioning. 0: the model's own.",
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
    ) -> dict[str, Any]:
        variant = known(model)
        if aspect_ratio != AS_SET:
            width, height = size_of(variant, aspect_ratio, area)
        elif area:
            raise FamilyError(f"area is {area}, and no aspect ratio is chosen. Choose one, or set area to 0.")
        if fps and not (variant.sound and variant.family.reads_rate):
            raise FamilyError(
                f"fps is {fps:g}; {variant.title} makes {variant.defaults.fps:g} frames per second only. Set fps to 0."
            )
        fps = fps or variant.defaults.fps
        (width, height, frames), remarks = used_size(variant, width, height, frames, fps)
        samples: Any = torch.zeros(1, *variant.geometry.latent_shape(width, height, frames))
        if variant.sound is not None:
            samples = host.nested([samples, torch.zeros(1, *variant.sound.shape(frames, fps))])
            remarks.append("With sound")
        return with_remarks(({"samples": samples}, width, height, frames, fps), remarks)
