"""A decoder of a LATENT's sound; the same on both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class AudioDecoder:
    """
    Attributes:
        channels: of the latents.
        decode: latent [B, channels, ...] -> AUDIO {"waveform" [B, 1 or 2, samples] in -1..1, "sample_rate": Hz}.
        encode: AUDIO -> latent [B, channels, ...] float32 on the CPU. None: this VAE decodes only.
        time_axis: the axis of the latent that is time.
    """

    channels: int
    decode: Callable[[Tensor], dict[str, Any]]
    encode: Callable[[dict[str, Any]], Tensor] | None = None
    time_axis: int = 2
