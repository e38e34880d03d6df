"""Pictures as an image encoder of the CLIP family reads them; the same on both sides."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(images: Tensor, size: int, crop: bool = True) -> Tensor:
    """IMAGE [B, H, W, 3] in 0..1 -> [B, 3, size, size], normalised.

    Args:
        crop: True keeps the shape and cuts to the centre, False squeezes the whole picture in.
    Source: transformers' CLIPImageProcessor, and ComfyUI's clip_preprocess, which rounds to whole 255ths too.
    """
    pixels = images[..., :3].movedim(-1, 1)
    height, width = pixels.shape[-2:]
    if (height, width) != (size, size):
        scale = size / min(height, width)
        target = (round(scale * height), round(scale * width)) if crop else (size, size)
        pixels = functional.interpolate(pixels, size=target, mode="bicubic", antialias=True)
        top, left = (target[0] - size) // 2, (target[1] - size) // 2
        pixels = pixels[:, :, top : top + size, left : left + size]
    pixels = (pixels * 255).clamp(0, 255).round() / 255
    mean, std = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels - mean) / std
