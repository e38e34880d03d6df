"""A decoded frame -> pixels: scaled, in full range, toned down from HDR, upright and cut to size."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import hdr
from .scaling import Scaler


@dataclass(frozen=True)
class Shape:
    """The size that pictures are brought to.

    Attributes:
        width, height: in pixels; 0: the picture's own, or what keeps its shape where the other is given.
        fit: where both are given. "crop": fill them and cut what juts out; "fit": the largest picture inside them;
            "stretch": exactly them.
    """

    width: int
    height: int
    fit: str

    def sizes(self, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """The size to scale a picture of width x height to, and the size to cut out of its middle."""
        if not (self.width or self.height):
            return (width, height), (width, height)
        if not (self.width and self.height):
            factor = self.width / width if self.width else self.height / height
            scaled = self.width or max(1, round(width * factor)), self.height or max(1, round(height * factor))
            return scaled, scaled
        if self.fit == "stretch":
            return (self.width, self.height), (self.width, self.height)
        factors = self.width / width, self.height / height
        factor = max(factors) if self.fit == "crop" else min(factors)
        scaled = max(1, round(width * factor)), max(1, round(height * factor))
        if self.fit == "fit":
            return scaled, scaled
        return (max(scaled[0], self.width), max(scaled[1], self.height)), (self.width, self.height)


def shown_size(frame: Any, pixel_aspect: Fraction, shape: Shape) -> tuple[int, int]:
    """(width, height) of the result of `pixels` for a frame."""
    turns, _ = turned(frame)
    width, height = max(1, round(frame.width * pixel_aspect)), frame.height
    return shape.sizes(*((height, width) if turns % 2 else (width, height)))[1]


def pixels(frame: Any, film: Any, shape: Shape, scaler: Scaler) -> Tensor:
    """[H, W, 3] float32 0..1 of a frame of a `film.Film` or an `animation.Animation`."""
    turns, is_mirrored = turned(frame)
    width, height = max(1, round(frame.width * film.pixel_aspect)), frame.height
    if turns % 2:
        width, height = height, width
    scaled, cut = shape.sizes(width, height)
    wide = any(component.bits > 8 for component in frame.format.components)
    across, down = scaled[1 if turns % 2 else 0], scaled[0 if turns % 2 else 1]
    rgb = scaler.to_rgb(frame, across, down, "rgb48le" if wide else "rgb24", film.codec)
    array = rgb.to_ndarray()
    array = np.rot90(array[:, ::-1] if is_mirrored else array, turns)
    top, left = (scaled[1] - cut[1]) // 2, (scaled[0] - cut[0]) // 2
    array = array[top : top + cut[1], left : left + cut[0]]
    if not wide:
        return torch.from_numpy(np.ascontiguousarray(array)).float() / 255
    picture = torch.from_numpy(array.astype(np.float32)) / 65535
    return hdr.tone_mapped(picture, film.transfer) if film.is_hdr else picture


def turned(frame: Any) -> tuple[int, bool]:
    """(quarter turns against the clock, whether the picture is mirrored left to right before) that bring it upright.

    Source: the display matrix of ISO/IEC 14496-12; [x', y'] = [a x + c y, b x + d y].
    """
    try:
        side_data = list(frame.side_data)
    except ValueError:  # of a kind that FFmpeg knows and PyAV does not: a picture's EXIF
        return 0, False
    for data in side_data:
        if getattr(data.type, "name", data.type) == "DISPLAYMATRIX":
            a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
            is_mirrored = a * d - b * c < 0
            if is_mirrored:
                a, b = -a, -b
            return round(-math.degrees(math.atan2(b, a)) / 90) % 4, is_mirrored
    return 0, False
