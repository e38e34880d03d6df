"""Pictures, clips and sounds that a video is made after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .shown import Shown
from .variant import Variant


@dataclass(frozen=True, eq=False)
class ReferenceClip:
    """
    Attributes:
        frames: [n, H, W, 3] in 0..1, at the model's own frames per second.
        sound: its AUDIO {"waveform" [B, channels, samples], "sample_rate"}, or None.
    """

    frames: Tensor
    sound: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class ReferenceMedia:
    """What a user gives.

    Attributes:
        pictures: [1, H, W, 3] in 0..1 each.
        sounds: AUDIOs.
        keeps_size: pictures keep their pixels up to the makers' limit, in place of those of the video.
        width, height, frames: of the video.
        scale: (images [n, H, W, 3], width, height) -> the same in this size, stretched.
        encode: images [n, H, W, 3] -> latent [1, C, T, h, w].
        hear: AUDIO -> latent of its sound [1, C, ...].
    """

    pictures: Sequence[Tensor]
    clips: Sequence[ReferenceClip]
    sounds: Sequence[Mapping[str, Any]]
    keeps_size: bool
    width: int
    height: int
    frames: int
    scale: Callable[[Tensor, int, int], Tensor]
    encode: Callable[[Tensor], Tensor]
    hear: Callable[[Mapping[str, Any]], Tensor]


@dataclass(frozen=True, eq=False)
class Referred:
    """
    Attributes:
        shown: what the prompt shows, in the order of its labels.
        entries: for the CONDITIONING's dictionary.
        remarks: what the user should know.
    """

    shown: Sequence[Shown]
    entries: Mapping[str, Any]
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class References:
    """How a family makes a video after pictures, clips and sounds.

    Attributes:
        pictures, clips, sounds: how many it takes at most.
        check: (variant, media) raises FamilyError for media that it cannot use; nothing is encoded.
        prepare: (variant, media) -> Referred.
    """

    pictures: int
    clips: int
    sounds: int
    check: Callable[[Variant, ReferenceMedia], None]
    prepare: Callable[[Variant, ReferenceMedia], Referred]


@dataclass(frozen=True, eq=False)
class Tail:
    """The end of a video that another goes on from.

    Attributes:
        frames: [n, H, W, 3] in 0..1, in the size of the video that goes on.
        sound: AUDIO of the same seconds, or None. Re-encoded from its waveform, since latents of sound that are handed
            on turn to noise after some clips.
        encode, hear: as of `ReferenceMedia`.
    """

    frames: Tensor
    sound: Mapping[str, Any] | None
    encode: Callable[[Tensor], Tensor]
    hear: Callable[[Mapping[str, Any]], Tensor] | None = field(default=None)


@dataclass(frozen=True)
class Continuation:
    """How a family goes on from the end of a video.

    Attributes:
        lengths: frames of the tail that it can go on from, rising; the new video begins with them.
        prepare: (variant, tail of one of these lengths, frames of the video) -> entries for the CONDITIONING's
            dictionary; raises FamilyError for a tail that it cannot use.
    """

    lengths: tuple[int, ...]
    prepare: Callable[[Variant, Tail, int], dict[str, Any]]
