"""The size, length and rate of a video file, from its timeline and its first frame."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from . import animation
from .animation import Animation
from .film import Film
from .pixels import Shape, shown_size
from .pyav import av
from .timeline import VideoError


@dataclass(frozen=True)
class Measured:
    """
    Attributes:
        width, height: upright, in square pixels.
        frames: what `read_video` gives at the asked rate.
        fps: frames per second of the file itself.
        has_sound: there is a sound track, readable or not.
        remarks: what is wrong with the file as a whole.
    """

    width: int
    height: int
    frames: int
    fps: Fraction
    has_sound: bool
    remarks: tuple[str, ...] = ()


def measure_video(path: Path, fps: float | Fraction = 0) -> Measured:
    """Measure a video without decoding more than its first frame.

    Args:
        fps: frames per second to count its frames at; 0: the file's own.
    Raises:
        VideoError: no video, or nothing in it can be decoded.
    """
    try:
        film = Animation(path) if path.suffix.lower() in animation.SUFFIXES else Film(path)
        rate = Fraction(fps).limit_denominator(90_000) if fps else film.timeline.fps
        _, first = next(film.frames(0))
        width, height = shown_size(first, film.pixel_aspect, Shape(0, 0, "crop"))
    except (av.error.FFmpegError, StopIteration) as error:
        raise VideoError(
            f"No frame of {path.name} can be decoded; the file is damaged. Choose another file."
        ) from error
    return Measured(width, height, film.timeline.length(rate), film.timeline.fps, film.has_sound, tuple(film.remarks))
