"""Where the shape of a clip of the world is: colours of ground and shape, and how far it covers each pixel.

The border's median colour is the ground. How far each pixel lies on the way from it to the shape's own colour is how
much of the pixel is covered.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Lowest contrast between shape and background, as a distance in RGB 0..1; the world's lowest is 0.33.
_CONTRAST = 0.12


@dataclass(frozen=True)
class Colours:
    """Of the ground and of what differs most from it, both [3] in 0..1."""

    ground: Tensor
    front: Tensor

    @property
    def contrast(self) -> float:
        return float((self.front - self.ground).norm())


def cover_of(video: Tensor) -> tuple[Colours, Tensor | None]:
    """The colours of a clip, and how much of each pixel has the shape's colour, [F, H, W] in 0..1.

    Args:
        video: [3, F, H, W] in -1..1; values outside are clamped.
    Returns:
        None for the cover where nothing differs from the background.
    """
    rgb = ((video.float() + 1) / 2).clamp(0, 1)
    back = _border(rgb)
    colours = Colours(back.median(1).values, _front(rgb, back))
    return colours, _cover(rgb, back, colours.front) if colours.contrast >= _CONTRAST else None


def _border(rgb: Tensor) -> Tensor:
    """[3, F, H, W] -> [3, F]: each frame's median colour along its border."""
    edge = max(1, rgb.shape[-1] // 21)
    sides = (rgb[..., :edge, :], rgb[..., -edge:, :], rgb[..., edge:-edge, :edge], rgb[..., edge:-edge, -edge:])
    return torch.cat([s.flatten(2) for s in sides], 2).median(2).values


def _front(rgb: Tensor, back: Tensor) -> Tensor:
    """The shape's colour [3]: the median over the inside of what differs most from the background."""
    distance = (rgb - back[:, :, None, None]).square().sum(0).sqrt()  # [F, H, W]
    high = distance.flatten().topk(max(1, distance.numel() // 50)).values[-1]
    mask = distance > 0.6 * high
    # The inside alone: edge pixels are mixed with the background.
    inside = ~spread(~mask)
    chosen = inside if int(inside.sum()) >= 20 else mask
    return rgb[:, chosen].median(1).values if bool(chosen.any()) else rgb.flatten(1).median(1).values


def _cover(rgb: Tensor, back: Tensor, front: Tensor) -> Tensor:
    """[F, H, W] in 0..1: how much of each pixel has the shape's colour."""
    way = front[:, None] - back  # [3, F]
    cover = ((rgb - back[:, :, None, None]) * way[:, :, None, None]).sum(0) / way.square().sum(0)[:, None, None]
    return cover.clamp(0, 1)


def spread(mask: Tensor) -> Tensor:
    """[F, H, W] bool -> the same, grown by a thirty-second of the width to every side."""
    reach = max(1, mask.shape[-1] // 32)
    for axis in (1, 2):
        grown = mask.clone()
        for shift in range(1, reach + 1):
            kept = mask.shape[axis] - shift
            grown.narrow(axis, shift, kept).logical_or_(mask.narrow(axis, 0, kept))
            grown.narrow(axis, 0, kept).logical_or_(mask.narrow(axis, shift, kept))
        mask = grown
    return mask
