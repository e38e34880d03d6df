"""Buckets: the sizes and lengths that clips are brought to, out of those that the model can make."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..base import FamilyError, Variant
from ..media.measure import Measured
from .errors import TrainingError
from .settings import Settings

# Widest and tallest shape that a clip keeps; what is beyond is cut.
_WIDEST = 2.0


@dataclass(frozen=True, order=True)
class Bucket:
    """
    Attributes:
        width, height: in pixels.
        frames: at the model's frame rate; 1 is a picture.
        has_sound: clips with the sound that a joint model learns.
    """

    width: int
    height: int
    frames: int
    has_sound: bool = False

    @property
    def title(self) -> str:
        length = "picture" if self.frames == 1 else f"{self.frames} frames"
        return f"{self.width} x {self.height}, {length}{', with sound' if self.has_sound else ''}"


def bucket_of(variant: Variant, settings: Settings, measured: Measured, is_picture: bool, has_sound: bool) -> Bucket:
    """The bucket of a clip: its own shape in the area of the model's size, as long as the clip and the model allow.

    Raises:
        TrainingError: the clip is too short, or the model makes no such thing.
    """
    geometry, defaults = variant.geometry, variant.defaults
    width, height = settings.width or defaults.width, settings.height or defaults.height
    if geometry.only is None:
        shape = min(max(measured.width / measured.height, 1 / _WIDEST), _WIDEST)
        area = width * height
        width, height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
    most = min(measured.frames, settings.frames or defaults.frames)
    frames = 1 if is_picture else longest(variant, most)
    if not is_picture and frames == 1:
        shortest = next((n for n in range(2, geometry.max_frames + 1) if geometry.nearest(n) == n), 1)
        raise TrainingError(
            f"It has {measured.frames} frames at {defaults.fps:g} fps; {variant.title} learns from {shortest} or more "
            f"({geometry.frame_rule or 'any number'}). Use a longer clip, or a picture."
        )
    try:
        return Bucket(*geometry.legal(width, height, frames), has_sound)
    except FamilyError as error:
        raise TrainingError(str(error)) from error


def longest(variant: Variant, frames: int) -> int:
    """The longest length of at most this many frames that the model can make."""
    return next((n for n in range(frames, 0, -1) if variant.geometry.nearest(n) == n), 1)
