"""What can be known to be wrong with a video's settings before anything is written."""

from __future__ import annotations

import math
from fractions import Fraction
from numbers import Real

from .formats import format_of
from .gif import MAX_FPS as MAX_GIF_FPS

MIN_FPS, MAX_FPS = Fraction(1, 100), 1000
SIZE_RULES = ("pad", "crop")
AUDIO_LENGTHS = ("cut", "pad")


def check_settings(
    format: str,
    fps: float | Fraction = 16,
    quality: float = 80,
    crf: float | None = None,
    preset: str | None = None,
    bit_depth: int = 8,
    size_rule: str = "pad",
    audio_length: str = "cut",
) -> None:
    """Raise what VideoWriter would raise about these; nothing is opened."""
    wanted, rate = format_of(format), exact_fps(fps)
    wanted.depth(bit_depth)
    wanted.options(quality, crf, preset)
    if format == "gif" and rate > MAX_GIF_FPS:
        raise ValueError(
            f"fps is {float(rate):g}, but a GIF shows {MAX_GIF_FPS} frames a second at most. Lower it or choose webp."
        )
    for name, value, choices in (("size_rule", size_rule, SIZE_RULES), ("audio_length", audio_length, AUDIO_LENGTHS)):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; expected {' or '.join(choices)}.")


def stored_size(format: str, width: int, height: int, size_rule: str = "pad") -> tuple[int, int]:
    """Width and height in the file: multiples of what the format needs, upwards ("pad") or downwards ("crop").

    Raises:
        ValueError: too small or too large for the format.

    >>> stored_size("mp4 h264", 35, 33), stored_size("mp4 h264", 35, 33, "crop"), stored_size("gif", 35, 33)
    ((36, 34), (34, 32), (35, 33))
    """
    wanted = format_of(format)
    low, high = wanted.sides
    if not (low <= width <= high and low <= height <= high):
        raise ValueError(f"The video would be {width}x{height} pixels; {wanted.key} takes {low} to {high} per side.")
    columns, rows = wanted.multiple
    if size_rule == "crop" and (width < columns or height < rows):
        raise ValueError(
            f"Nothing would be left of {width}x{height} pixels after cropping to even sides; set size_rule to pad."
        )
    if size_rule == "pad":
        return width + -width % columns, height + -height % rows
    return width - width % columns, height - height % rows


def exact_fps(fps: float | Fraction) -> Fraction:
    """Frames per second as a fraction: NTSC rates (23.976, 29.97, 59.94, ...) as n * 1000/1001, others to three digits.

    Raises:
        ValueError: not a number from 0.01 to 1000.

    >>> exact_fps(16.0), exact_fps(23.976), exact_fps(12.5)
    (Fraction(16, 1), Fraction(24000, 1001), Fraction(25, 2))
    """
    if isinstance(fps, bool) or not isinstance(fps, Real) or not math.isfinite(fps) or not MIN_FPS <= fps <= MAX_FPS:
        raise ValueError(f"fps is {fps!r}; expected a number from {float(MIN_FPS)} to {MAX_FPS} frames per second.")
    if isinstance(fps, Fraction):
        return fps.limit_denominator(90_000)
    for n in (24, 30, 48, 60, 90, 120, 240):
        if abs(fps - n * 1000 / 1001) < 0.005:
            return Fraction(n * 1000, 1001)
    return Fraction(float(fps)).limit_denominator(1000)
