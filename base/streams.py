"""The tensors of a LATENT: a video, and a second stream for models that make sound with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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

    A sound with noise levels of its own is carried on those of the video: what a run walks is the sound multiplied by
    (video's sigma / its own sigma), a straight flow whose clean end is the sound times `ratio`. So any sampler of one
    schedule makes both. Source: ComfyUI 0.33.0, comfy/model_sampling.py (ModelSamplingAV).

    Attributes:
        shape: (video frames, frames per second) -> (channels, ...) of the latent of so much sound.
        time_axis: the axis of the latent [B, C, ...] that is time.
        shift: of its own noise levels; 0: it has those of the video.
        ratio: the shift of the video's noise levels divided by `shift`; 1 for a sound that has those of the video.
    """

    name = "sound"

    shape: Callable[[int, float], tuple[int, ...]]
    time_axis: int = 2
    shift: float = 0.0
    ratio: float = 1.0

    def latent_shape(self, width: int, height: int, frames: int, fps: float) -> tuple[int, ...]:
        return self.shape(frames, fps)

    def normalise(self, latent: Tensor) -> Tensor:
        return super().normalise(latent) * self.ratio

    def denormalise(self, latent: Tensor) -> Tensor:
        return super().denormalise(latent / self.ratio)

    def at_shift(self, video_shift: float, shift: float = 0.0) -> SoundStream:
        """The stream beside a video whose noise levels have this shift; `shift` of its own, 0 for as it is.

        >>> SoundStream(shape=lambda frames, fps: (), shift=3.0).at_shift(12.0).ratio
        4.0
        """
        sound_shift = shift or self.shift
        return replace(self, shift=sound_shift, ratio=video_shift / sound_shift) if self.shift else self

    def own_sigma(self, sigma: Tensor) -> Tensor:
        """The sound's noise level, 0..1, at one of the video's."""
        return sigma / (sigma + self.ratio * (1 - sigma))

    def carried_flow(self, sound: Tensor, flow: Tensor, own_sigma: Tensor) -> Tensor:
        """The flow (noise minus clean) of the carried sound, from the sound and its own flow at its own noise level."""
        return (1 - self.ratio) * sound + (1 + (self.ratio - 1) * own_sigma) * flow


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, *[1] * (like.ndim - 2))
