"""DDIM for models whose clean latent fades faster than their betas say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...base.generators import Generators, normal
from ...base.scheduler import OwnScheduler


class ScaledDDIMScheduler(OwnScheduler):
    """Walks x = sqrt(alpha) * signal * clean + sqrt(1 - alpha) * noise, as the model sees it.

    Source: Song et al. 2020, arXiv:2010.02502, equation 12, with the clean latent scaled; AILab-CVC/VideoCrafter
    @11bcd76 (lvdm/models/samplers/ddim.py). As there, the steps end at the first alpha of the table, not at 1.

    Args:
        alphas, signal: [train steps] float64.
        eta: 0 adds no noise, 1 as much as was removed (the makers' own).

    Attributes:
        timesteps: [steps] falling, after `set_timesteps`: evenly from 1 on.
    """

    def __init__(self, alphas: Tensor, signal: Tensor, eta: float):
        self.alphas, self.signal, self.eta = alphas, signal, eta
        self.timesteps = torch.empty(0, dtype=torch.long)

    def set_timesteps(self, steps: int) -> None:
        count = len(self.alphas)
        self.timesteps = (torch.arange(steps) * count // steps + 1).clamp(max=count - 1).flip(0)

    def step(self, output: Tensor, index: int, x: Tensor, generator: Generators) -> Tensor:
        t = self.timesteps[index]
        below = self.timesteps[index + 1] if index + 1 < len(self.timesteps) else 0
        alpha, alpha_below = self.alphas[t], self.alphas[below]
        spread = self.eta * ((1 - alpha_below) / (1 - alpha) * (1 - alpha / alpha_below)).sqrt()
        clean = (x - float((1 - alpha).sqrt()) * output) / float(alpha.sqrt() * self.signal[t])
        kept = float((1 - alpha_below - spread**2).clamp(min=0).sqrt())
        moved = float(alpha_below.sqrt() * self.signal[below]) * clean + kept * output
        if self.eta:
            moved = moved + float(spread) * normal(x.shape, generator).to(x)
        return moved


def scaled_ddim(config: Mapping[str, Any], predicts: Any) -> ScaledDDIMScheduler:
    """The scheduler of `sampling.Discrete` noise levels, whose clean latent fades by `signal`."""
    signal = torch.ones_like(predicts.alphas) if predicts.signal is None else predicts.signal
    return ScaledDDIMScheduler(predicts.alphas, signal, float(config.get("eta", 0.0)))
