"""Sizes and lengths that a model can make, and empty LATENTs of another model's scale."""

from __future__ import annotations

import math
from typing import Any

from ..base import Variant


def used_size(
    variant: Variant, width: int, height: int, frames: int, fps: float = 0.0
) -> tuple[tuple[int, int, int], list[str]]:
    """((width, height, frames) that the model can make, 0 for its own; remarks on changes)."""
    defaults = variant.defaults
    fps = fps or defaults.fps
    asked = (width or defaults.width, height or defaults.height, frames or defaults.frames)
    used = variant.geometry.legal(*asked)
    remarks = [f"{used[0]} x {used[1]}, {used[2]} frames at {fps:g} fps ({used[2] / fps:.1f} s)"]
    changed = [f"{n} {a} -> {u}" for n, a, u in zip(("width", "height", "frames"), asked, used, strict=True) if a != u]
    if changed:
        lengths = variant.geometry.frame_rule
        rule = f"sizes are multiples of {variant.geometry.multiple}" + (f", frames {lengths}" if lengths else "")
        remarks.append(f"Changed to what the model can make: {', '.join(changed)} ({rule}).")
    return used, remarks


def size_of(variant: Variant, aspect_ratio: str, area: int) -> tuple[int, int]:
    """(width, height) of a ratio, with the pixel count of a square of side `area`; 0: of the model's own size.

    Source: hpcaitech/Open-Sora @7ad6a96, opensora/datasets/aspect.py (the order of rounding).
    """
    across, down = map(float, aspect_ratio.split(":"))
    if across < down:  # portrait: the landscape size, turned
        height, width = size_of(variant, ":".join(reversed(aspect_ratio.split(":"))), area)
        return width, height
    step, defaults = variant.geometry.multiple, variant.defaults
    pixels = area**2 or defaults.width * defaults.height
    width = max(step, int(math.sqrt(pixels * across / down) // step) * step)
    return width, max(step, int(pixels / width // step) * step)


# Keys in which nodes state the scale of an empty LATENT: pixels per latent pixel, frames per latent frame.
SCALES = ("downscale_ratio_spacial", "downscale_ratio_temporal")


def in_models_scale(variant: Variant, latent: dict[str, Any]) -> dict[str, Any]:
    """The LATENT. An empty one in another model's scale is replaced by one of the same size and length in pixels.

    Where the model cannot make that size, by the nearest one that it can.

    Source: ComfyUI 0.33.0, comfy/sample.py, fix_empty_latent_channels. Older hosts' nodes do not state a scale.
    """
    samples, rest = latent["samples"], {key: value for key, value in latent.items() if key not in SCALES}
    if samples.is_nested or samples.ndim not in (4, 5) or bool(samples.any()):
        return {**rest, "samples": samples}
    geometry, (spatial, temporal) = variant.geometry, (latent.get(key) for key in SCALES)
    batch, _, *sizes = samples.shape
    frames, height, width = sizes if len(sizes) == 3 else (1, *sizes)
    if spatial:
        height, width = (max(1, round(side * spatial / geometry.multiple)) * geometry.patch for side in (height, width))
    if temporal:
        frames = max(1, round(frames * temporal / geometry.temporal))
    return {**rest, "samples": samples.new_zeros(batch, geometry.channels, frames, height, width)}
