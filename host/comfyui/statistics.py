"""A VAE's statistics, as core's nodes ask for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn


class Statistics:
    """Mean and standard deviation of a VAE's latents, as core's nodes ask for them."""

    def __init__(self, vae: nn.Module, statistics: Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]):
        self._of = partial(statistics, vae)

    def normalize(self, latent: Tensor) -> Tensor:
        """The VAE's own latent [B, C, T, h, w] -> the transformer's."""
        mean, std = self._of(latent)
        return (latent - mean) / std

    def un_normalize(self, latent: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        mean, std = self._of(latent)
        return latent * std + mean
