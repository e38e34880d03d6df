"""The tensors of a LATENT: a video, and a second stream for models that make sound with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .geometry import Geometry


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One tensor [B, C, ...] of a LATENT.

    Attributes:
        name: in the user's words; also tells the streams of a model apart.
        mean, std: per channel, or one number for all; what the transformer sees is (latent - mean) / std. Empty: 0, 1.
        is_needed: the model makes nothing without it.
    """

    name: ClassVar[str] = ""

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    is_needed: bool = True

    def latent_shape(self, width: int, height: int, frames: int, fps: float) -> tuple[int, ...]:
        """(channels, ...) of the latent for this many video frames, in a legal size."""
        raise NotImplementedError

    def normalise(self, latent: Tensor) -> Tensor:
        """VAE latent [B, C, ...] -> the transformer's latent."""
        centred = latent - _column(self.mean, latent) if self.mean else latent
        return centred / _column(self.std, latent) if self.std else centred

    def denormalise(self, latent: Tensor) -> Tensor:
        """The transformer's latent [B, C, ...] -> VAE latent."""
        scaled = latent * _column(self.std, latent) if self.std else latent
        return scaled + _column(self.mean, latent) if self.mean else scaled

    def front_padding(self, latent: Tensor) -> int:
        """How many padding frames a run puts in front of a latent."""
        return 0

    def pad_front(self, latent: Tensor) -> Tensor:
        """The latent with its padding frames."""
        return latent


@dataclass(frozen=True)
class VideoStream(Stream):
    """The video [B, C, T, h, w], every model's first stream.

    Attributes:
        geometry: how its pixels fold into latents and tokens.
    """

    name = "video"

    geometry: Geometry

    def latent_shape(self, width: int, height: int, frames: int, fps: float) -> tuple[int, ...]:
        return self.geometry.latent_shape(width, height, frames)

    def front_padding(self, latent: Tensor) -> int:
        return self.geometry.front_padding(latent.shape[2])

    def pad_front(self, latent: Tensor) -> Tensor:
        return self.geometry.pad_front(latent)


@dataclass(frozen=True)
class SoundStream(Stream):
    """The sound [B, C, ...] that goes with a video.

    Attributes:
        shape: (video frames, frames per second) -> (channels, ...) of the latent of so much sound.
        time_axis: the axis of the latent [B, C, ...] that is time.
    """

    name = "sound"

    shape: Callable[[int, float], tuple[int, ...]]
    time_axis: int = 2

    def latent_shape(self, width: int, height: int, frames: int, fps: float) -> tuple[int, ...]:
        return self.shape(frames, fps)


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, *[1] * (like.ndim - 2))
