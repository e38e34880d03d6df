"""Values used where the user leaves 0 or an empty text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

_FLOATS = ("fps", "guidance", "picture_guidance", "sound_guidance")


@dataclass(frozen=True)
class Defaults:
    """Values used where the user leaves 0 or an empty text.

    Attributes:
        guidance: classifier-free guidance scale; 1 switches it off. For a guidance-distilled model (see
            `Variant.embeds_guidance`) the scale that the transformer is told.
        low_noise_guidance: the same for the low-noise expert of a model with two; None: as `guidance`.
        picture_guidance: how closely pictures are followed, for a family with `Images.guidance`; 1 is off.
        sound_guidance: classifier-free guidance scale of a joint model's sound; None: as `guidance`.
        negative: recommended negative prompt.
    """

    width: int
    height: int
    frames: int
    fps: float
    steps: int
    guidance: float
    low_noise_guidance: float | None = None
    negative: str = ""
    picture_guidance: float = 1.0
    sound_guidance: float | None = None

    def with_overrides(self, overrides: Mapping[str, Any]) -> Defaults:
        """These values, replaced by those that a folder's opent2v.json states; its other keys are not read here."""
        stated = {field.name: overrides[field.name] for field in fields(self) if field.name in overrides}
        return replace(self, **{name: float(value) if name in _FLOATS else value for name, value in stated.items()})
