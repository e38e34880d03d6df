"""Animated WebP and PNG, by Pillow: FFmpeg reads neither whole."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from .pyav import av
from .timeline import USUAL_RATE, Timeline, VideoError, counted, timed

SUFFIXES = (".apng", ".webp")
_MILLISECONDS = 1000
# What Pillow's readers raise on damaged bytes: errors of their own, and of the sums and tables they run into.
_DAMAGE = (OSError, EOFError, ValueError, SyntaxError, ArithmeticError, LookupError, TypeError, struct.error)


class Animation:
    """An animated picture; the surface is `film.Film`'s."""

    is_interlaced = has_losses = False

    def __init__(self, path: Path):
        self.path, self.remarks, self.jumping = path, list[str](), ""
        self.pixel_aspect, self.codec, self.transfer, self.is_hdr, self.has_sound = Fraction(1), "", 0, False, False
        with self._opened() as picture:
            self.timeline = _timeline(path, picture)

    def frames(self, first: int, deinterlace: bool = False) -> Iterator[tuple[int, Any]]:
        """(number, frame): all from the first, since each may build on the one before."""
        with self._opened() as picture:
            for number in range(len(self.timeline.times)):
                try:
                    picture.seek(number)
                    # Players show transparent pictures on black.
                    shown = picture.convert("RGBA")
                except _DAMAGE:
                    return
                if number >= first:
                    pixels = np.asarray(shown, dtype=np.uint8)
                    opaque = pixels[..., :3] * (pixels[..., 3:].astype(np.float32) / 255)
                    yield number, av.VideoFrame.from_ndarray(np.rint(opaque).astype(np.uint8), format="rgb24")

    def _opened(self) -> Any:
        from PIL import Image

        try:
            return Image.open(self.path)
        except FileNotFoundError as error:
            raise VideoError(f"{self.path.name} is not there (any more). Choose another file.") from error
        except (*_DAMAGE, Image.DecompressionBombError) as error:
            raise VideoError(f"{self.path.name} is no picture that can be read. Choose another file.") from error


def _timeline(path: Path, picture: Any) -> Timeline:
    """When each picture is shown, from how long the file shows it.

    Raises:
        VideoError: not even the first picture can be decoded.
    """
    count = getattr(picture, "n_frames", 1)
    if count == 1:
        return counted(1, USUAL_RATE)
    times, time = list[tuple[Fraction, int]](), Fraction(0)
    for number in range(count):
        try:
            picture.seek(number)
            picture.load()  # a WebP's duration is known only after the picture is decoded
        except _DAMAGE:
            break
        times.append((time, number))
        # Browsers show a picture without a duration for a tenth of a second.
        time += Fraction(picture.info.get("duration") or 100).limit_denominator(_MILLISECONDS) / _MILLISECONDS
    if not times:
        raise VideoError(f"No frame of {path.name} can be decoded; the file is damaged. Choose another file.")
    whole = timed(times, Fraction(len(times)) / time)
    return Timeline(whole.times, whole.fps)
