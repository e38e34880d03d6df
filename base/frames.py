"""Conditions of a run, cut to some of the latent's frames."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .errors import FamilyError
from .variant import Variant

# Shape [B, C, T, h, w] of the latents; of a joint model a list of the streams' shapes.
LatentShape = tuple[int, ...] | list[tuple[int, ...]]


def appended_pictures(variant: Variant) -> FamilyError:
    """The refusal of windows over time for pictures behind the latent's frames, whose places no window knows."""
    return FamilyError(
        f"Windows over time cut no guides and no end picture of {variant.title}. Take Video Windows out, or start "
        "from a first picture alone."
    )


def cut_by_frames(
    variant: Variant, name: str, condition: Tensor, frames: Sequence[Sequence[int]], shape: LatentShape
) -> Tensor:
    """A condition [B, C, T, h, w] with these frames of it; what has no axis of frames stays as it is.

    Args:
        name: what `Network.condition` calls it.
        frames: places of the frames in the latent, for each stream.
        shape: of the latents, as `Network.condition` gets it.
    Raises:
        FamilyError: the family makes several streams, and has not said how its conditions go with them.
    """
    if isinstance(shape, list):
        raise FamilyError(
            f"{variant.title} makes picture and sound together, and how its conditions are cut to windows over time is "
            "not known here. Take Video Windows out, or use LTX-2."
        )
    has_frames = condition.ndim == len(shape) and condition.shape[2] == shape[2]
    return condition[:, :, list(frames[0])] if has_frames else condition
