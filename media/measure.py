"""The size and length of a video file, from its timeline and its first frame."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from .pixels import Shape, shown_size
from .pyav import av
from .reader import open_film
from .timeline import VideoError


@dataclass(frozen=True)
class Measured:
    """
    Attributes:
        width, height: upright, in square pixels.
        frames: what `read_video` gives at the asked rate.
        has_sound: there is a sound track, readable or not.
        remarks: what is wrong with the file as a whole.
    """

    width: int
    height: int
    frames: int
    has_sound: bool
    remarks: tuple[str, ...] = ()


def measure_video(path: Path, fps: float | Fraction) -> Measured:
    """Measure a video without decoding more than its first frame.

    Args:
        fps: frames per second to count its frames at.
    Raises:
        VideoError: no video, or nothing in it can be decoded.
    """
    try:
        film = open_film(path)
        _, first = next(film.frames(0))
        width, height = shown_size(first, film.pixel_aspect, Shape(0, 0, "crop"))
    except (av.error.FFmpegError, StopIteration) as error:
        raise VideoError(
            f"No frame of {path.name} can be decoded; the file is damaged. Choose another file."
        ) from error
    frames = film.timeline.length(Fraction(fps).limit_denominator(90_000))
    return Measured(width, height, frames, film.has_sound, tuple(film.remarks))
