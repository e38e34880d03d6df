"""Pictures scaled to cover a size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from .pixels import Shape


def fit(images: Tensor, width: int, height: int) -> Tensor:
    """IMAGE [F, H, W, 3] scaled to cover width x height and cut to its centre; unchanged where it has that size."""
    images = images[..., :3].float()
    old_height, old_width = images.shape[1:3]
    if (old_width, old_height) == (width, height):
        return images
    (across, down), _ = Shape(width, height, "crop").sizes(old_width, old_height)
    top, left = (down - height) // 2, (across - width) // 2
    return scaled(images, across, down)[:, top : top + height, left : left + width]


def scaled(images: Tensor, width: int, height: int) -> Tensor:
    """IMAGE [F, H, W, 3] in 0..1 in exactly this size."""
    planes = images.movedim(-1, 1)
    return functional.interpolate(planes, (height, width), mode="bicubic", antialias=True).clamp(0, 1).movedim(1, -1)
