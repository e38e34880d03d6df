"""The pictures that an image-to-video run starts from, and the tensors prepared from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Pictures:
    """The pictures that an image-to-video run starts from.

    Attributes:
        start, end: first and last picture [1, 3, 1, H, W] in -1..1, in the video's size; either may be None. Where a
            family goes on from videos, one of its `clips` long.
        frames: length of the video.
        strength: 1 keeps the pictures as they are; less lets the model change them, where it can.
        vision: output of the image encoder for each picture that is given, [pictures, tokens, width], or None.
        middle: (frame, picture [1, 3, 1, H, W]) of pictures at other places, for families that take them, see `Images`.
        encode: video [1, 3, F, H, W] in -1..1 -> VAE latent.
    """

    start: Tensor | None
    end: Tensor | None
    frames: int
    strength: float
    vision: Tensor | None
    encode: Callable[[Tensor], Tensor]
    middle: tuple[tuple[int, Tensor], ...] = ()


@dataclass(frozen=True)
class Guided:
    """Prepared pictures: entries for the CONDITIONING's dictionary, and the LATENT to start from.

    Attributes:
        samples: VAE latent [1, C, T, h, w]; zeros where everything is made anew.
        mask: [1, 1, T, h, w], 1 is made anew and 0 is kept; None: all of it is made anew.
    """

    entries: Mapping[str, Any]
    samples: Tensor
    mask: Tensor | None = None
