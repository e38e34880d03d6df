"""Pictures scaled to cover a size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def fit(images: Tensor, width: int, height: int) -> Tensor:
    """IMAGE [F, H, W, 3] scaled to cover width x height and cut to its centre; unchanged where it has that size."""
    images = images[..., :3].float()
    old_height, old_width = images.shape[1:3]
    if (old_width, old_height) == (width, height):
        return images
    scale = max(width / old_width, height / old_height)
    target = max(height, round(old_height * scale)), max(width, round(old_width * scale))
    pixels = functional.interpolate(images.movedim(-1, 1), size=target, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (target[0] - height) // 2, (target[1] - width) // 2
    return pixels[:, :, top : top + height, left : left + width].movedim(1, -1)
