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
from .pyav import av

# ITU-T H.273 matrix of a frame -> what swscale calls it; unknown ones go by size, as players do.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT709, _BT601 = 1, 5
_FULL_RANGE = 2
# swscale's SWS_BICUBIC | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND: without the latter two, half of all greys come out
# one level too dark. 13 ms a frame of 832 x 480 instead of 1.3 (2 CPU cores, 2026-11-21).
_EXACT_BICUBIC = 4 | 0x2000 | 0x40000


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
    """(width, height) of what `pixels` gives for a frame."""
    turns, _ = _turned(frame)
    width, height = max(1, round(frame.width * pixel_aspect)), frame.height
    return shape.sizes(*((height, width) if turns % 2 else (width, height)))[1]


def pixels(frame: Any, pixel_aspect: Fraction, shape: Shape, transfer: int = 0) -> Tensor:
    """[H, W, 3] float32 0..1.

    Args:
        pixel_aspect: width of a pixel by its height.
        transfer: `hdr.PQ` or `hdr.HLG` where the light is to be toned down for an SDR screen.
    """
    turns, is_mirrored = _turned(frame)
    width, height = max(1, round(frame.width * pixel_aspect)), frame.height
    if turns % 2:
        width, height = height, width
    scaled, cut = shape.sizes(width, height)
    wide = any(component.bits > 8 for component in frame.format.components)
    rgb = frame.reformat(
        width=scaled[1 if turns % 2 else 0],
        height=scaled[0 if turns % 2 else 1],
        format="rgb48le" if wide else "rgb24",
        interpolation=_EXACT_BICUBIC,
        **_colours(frame),
    )
    array = rgb.to_ndarray()
    array = np.rot90(array[:, ::-1] if is_mirrored else array, turns)
    top, left = (scaled[1] - cut[1]) // 2, (scaled[0] - cut[0]) // 2
    array = array[top : top + cut[1], left : left + cut[0]]
    if not wide:
        return torch.from_numpy(np.ascontiguousarray(array)).float() / 255
    picture = torch.from_numpy(array.astype(np.float32)) / 65535
    return hdr.tone_mapped(picture, transfer) if transfer in (hdr.PQ, hdr.HLG) else picture


def _turned(frame: Any) -> tuple[int, bool]:
    """(quarter turns against the clock, whether the picture is mirrored left to right before) that bring it upright.

    Source: the display matrix of ISO/IEC 14496-12; [x', y'] = [a x + c y, b x + d y].
    """
    for data in frame.side_data:
        if getattr(data.type, "name", data.type) == "DISPLAYMATRIX":
            a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
            is_mirrored = a * d - b * c < 0
            if is_mirrored:
                a, b = -a, -b
            return round(-math.degrees(math.atan2(b, a)) / 90) % 4, is_mirrored
    return 0, False


def _colours(frame: Any) -> dict[str, Any]:
    """How `reformat` is to read a YUV frame; RGB needs no word."""
    if frame.format.is_rgb or frame.format.has_palette:
        return {}
    matrix = _MATRICES.get(int(frame.colorspace), _BT709 if frame.height >= 720 else _BT601)
    is_full = int(frame.color_range) == _FULL_RANGE or frame.format.name.startswith("yuvj")
    return {
        "src_colorspace": matrix,
        # RGB has no matrix. PyAV before 17 reads the source's only where the two differ.
        "dst_colorspace": _BT601 if matrix != _BT601 else _BT709,
        "src_color_range": av.video.reformatter.ColorRange.JPEG if is_full else av.video.reformatter.ColorRange.MPEG,
        "dst_color_range": av.video.reformatter.ColorRange.JPEG,
    }
