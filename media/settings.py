"""How a video is saved, and what can be known to be wrong with it before anything is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real

from .formats import Format, format_of

MIN_FPS, MAX_FPS = Fraction(1, 100), 1000
MAX_GIF_FPS = 50
SIZE_RULES = ("pad", "crop")
AUDIO_LENGTHS = ("cut", "pad")


@dataclass(frozen=True)
class SaveSettings:
    """How a video is saved, whatever its frames are; `check` says whether it can be.

    Attributes:
        format: a key of `formats.FORMATS`. "png sequence" makes a folder of files.
        quality: 0 (smallest file) to 100 (closest to the frames), on a scale of the format's own encoder: its rate
            factor, GIF's number of colours (16 to 256), WebP's quality. FFV1 and PNG are exact at any.
        crf: an exact rate factor of the encoder instead of quality; lower is better.
        preset: a name or number of the encoder's; None or "": the usual one.
        bit_depth: 8, 10 or 16 at least; a format without that number takes its next higher one.
        size_rule: where the format needs even sides, "pad": repeat the last column or row; "crop": leave it out.
        audio_length: "cut": a shorter sound ends earlier; "pad": it goes on with silence to the picture's end.
        provenance: mark the file as made by a model, see `xmp`.
    """

    format: str = "mp4 h264"
    quality: float = 80
    crf: float | None = None
    preset: str | None = None
    bit_depth: int = 8
    size_rule: str = "pad"
    audio_length: str = "cut"
    provenance: bool = True

    def check(self, fps: float | Fraction = 16) -> None:
        """Nothing is opened.

        Raises:
            ValueError: a value is out of range; the message begins with its name.
            RuntimeError: PyAV lacks the encoder.
        """
        kind, rate = self.kind, exact_fps(fps)
        kind.depth(self.bit_depth)
        kind.options(self.quality, self.crf, self.preset)
        if self.format == "gif" and rate > MAX_GIF_FPS:
            raise ValueError(
                f"fps is {float(rate):g}, but a GIF shows {MAX_GIF_FPS} frames a second at most. Lower it or choose "
                "webp."
            )
        for name, choices in (("size_rule", SIZE_RULES), ("audio_length", AUDIO_LENGTHS)):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} is {value!r}; expected {' or '.join(choices)}.")

    @property
    def kind(self) -> Format:
        """The format itself; ValueError where none is called so."""
        return format_of(self.format)

    @property
    def bits(self) -> int:
        """Per colour in the file."""
        return self.kind.depth(self.bit_depth)

    @property
    def options(self) -> dict[str, str]:
        """The encoder's."""
        return self.kind.options(self.quality, self.crf, self.preset)

    def stored_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in the file: multiples of what the format needs, upwards ("pad") or downwards ("crop").

        Raises:
            ValueError: too small or too large for the format.

        >>> SaveSettings("mp4 h264").stored_size(35, 33), SaveSettings("gif").stored_size(35, 33)
        ((36, 34), (35, 33))
        >>> SaveSettings("mp4 h264", size_rule="crop").stored_size(35, 33)
        (34, 32)
        """
        low, high = self.kind.sides
        if not (low <= width <= high and low <= height <= high):
            raise ValueError(
                f"The video would be {width}x{height} pixels; {self.kind.key} takes {low} to {high} per side."
            )
        if width < self.kind.narrowest:
            raise ValueError(
                f"The video would be {width} pixels wide; {self.kind.key} takes {self.kind.narrowest} and more, as its "
                "encoder breaks at narrower pictures. Choose mp4 h264, or a wider video."
            )
        columns, rows = self.kind.multiple
        if self.size_rule == "crop" and (width < columns or height < rows):
            raise ValueError(
                f"Nothing would be left of {width}x{height} pixels after cropping to even sides; set size_rule to pad."
            )
        if self.size_rule == "pad":
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
