"""What a model predicts, and the relation between a solver's noise level and a host's sigma.

Hosts walk x = clean + sigma * noise (v and eps models) or x = (1 - sigma) * clean + sigma * noise (flow models).
diffusers' schedulers for v and eps models walk x scaled to unit variance. A `Prediction` translates between the two,
and between a model's output and the clean latent it implies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .errors import SamplingError


class Prediction(Protocol):
    """All tensors are [B, C, T, H, W] float32; sigmas are [B] or a number."""

    def timestep(self, sigma: Tensor) -> Tensor:
        """The model's timestep, 0..1000."""
        ...

    def sigma(self, timestep: Tensor) -> Tensor:
        """The host's sigma of a timestep."""
        ...

    def model_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The host's x -> what the model sees, which is also what a scheduler walks."""
        ...

    def host_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The inverse of `model_input`."""
        ...

    def clean(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        """The clean latent that a model's output implies for the host's x."""
        ...

    def output(self, x: Tensor, clean: Tensor, sigma: Tensor) -> Tensor:
        """The inverse of `clean`: guidance is linear, so it works on guided latents too."""
        ...

    def noised(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """The host's x: a clean latent with noise of this level."""
        ...

    def target(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """What the model learns to return for `noised`."""
        ...


@dataclass(frozen=True)
class Flow:
    """Noise minus clean, on the straight line between the two."""

    def timestep(self, sigma: Tensor) -> Tensor:
        return sigma * 1000

    def sigma(self, timestep: Tensor) -> Tensor:
        return timestep / 1000

    def model_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x

    def host_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x

    def clean(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        return x - _column(sigma, x) * output

    def output(self, x: Tensor, clean: Tensor, sigma: Tensor) -> Tensor:
        return (x - clean) / _column(sigma, x)

    def noised(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        sigma = _column(sigma, clean)
        return sigma * noise + (1 - sigma) * clean

    def target(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        return noise - clean


@dataclass(frozen=True)
class Discrete:
    """v or eps over a table of betas.

    Attributes:
        kind: "v" or "eps".
        alphas: [train steps] product of 1 - beta; never 0, see `alphas_of`.
        signal: [train steps] what the clean latent is multiplied with besides, for eps models that were trained so:
            the model sees sqrt(alpha) * signal * clean + sqrt(1 - alpha) * noise. None: 1 at every step.
    """

    kind: str
    alphas: Tensor
    signal: Tensor | None = None

    @property
    def sigmas(self) -> Tensor:
        """[train steps] float64, rising: the host's sigma of each timestep."""
        sigmas = ((1 - self.alphas) / self.alphas).sqrt()
        return sigmas if self.signal is None else sigmas / self.signal

    def timestep(self, sigma: Tensor) -> Tensor:
        table = self.sigmas.log().float().to(sigma.device)
        return (sigma.log().unsqueeze(-1) - table).abs().argmin(-1).to(sigma)

    def sigma(self, timestep: Tensor) -> Tensor:
        # The lookup is in float64 on the CPU, because some devices lack float64.
        return self.sigmas[timestep.long().cpu()].float().to(timestep.device)

    def spread(self, sigma: Tensor) -> Tensor | None:
        """Standard deviation [B] of what the model sees where clean latents have 1; None: 1 at every step."""
        if self.signal is None:
            return None
        at = self.timestep(sigma).long().cpu()
        alpha = self.alphas[at]
        return (alpha * self.signal[at] ** 2 + 1 - alpha).sqrt().float().to(sigma.device)

    def model_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        scaled, spread = x / (_column(sigma, x) ** 2 + 1).sqrt(), self.spread(sigma)
        return scaled if spread is None else scaled * _column(spread, x)

    def host_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        scaled, spread = x * (_column(sigma, x) ** 2 + 1).sqrt(), self.spread(sigma)
        return scaled if spread is None else scaled / _column(spread, x)

    def clean(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        sigma = _column(sigma, x)
        if self.kind == "eps":
            return x - sigma * output
        return x / (sigma**2 + 1) - output * sigma / (sigma**2 + 1).sqrt()

    def output(self, x: Tensor, clean: Tensor, sigma: Tensor) -> Tensor:
        sigma = _column(sigma, x)
        if self.kind == "eps":
            return (x - clean) / sigma
        return (x / (sigma**2 + 1) - clean) * (sigma**2 + 1).sqrt() / sigma

    def noised(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        return clean + _column(sigma, clean) * noise

    def target(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        if self.kind == "eps":
            return noise
        sigma = _column(sigma, clean)
        return (noise - sigma * clean) / (sigma**2 + 1).sqrt()


def prediction(kind: str, config: Mapping[str, Any]) -> Prediction:
    """The `Prediction` of a model that returns `kind` ("flow", "v", "eps") under a scheduler config."""
    if kind == "flow":
        return Flow()
    if kind not in ("v", "eps"):
        raise SamplingError(f"No prediction is called {kind!r}. Expected flow, v or eps.")
    return Discrete(kind, alphas_of(config), signal_of(config))


def signal_of(config: Mapping[str, Any]) -> Tensor | None:
    """[train steps] float64: from 1 down to `signal_scale` over the first `signal_scale_steps`, then that; or None."""
    if "signal_scale" not in config:
        return None
    end, falling = float(config["signal_scale"]), int(config["signal_scale_steps"])
    rest = int(config.get("num_train_timesteps", 1000)) - falling
    return torch.cat([torch.linspace(1, end, falling, dtype=torch.float64), torch.full((rest,), end).double()])


def alphas_of(config: Mapping[str, Any]) -> Tensor:
    """[train steps] float64: the product of 1 - beta of a scheduler config, as diffusers' CogVideoX and DDIM build it.

    The last of a table with zero signal-to-noise is raised to 4.9e-8, as ComfyUI does (comfy/model_sampling.py), or to
    half the last but one where that is smaller: sigma would be infinite.
    """
    if config.get("trained_betas") is not None:
        return _without_zero((1 - torch.tensor(config["trained_betas"], dtype=torch.float64)).cumprod(0))
    steps = int(config.get("num_train_timesteps", 1000))
    start, end = float(config.get("beta_start", 0.00085)), float(config.get("beta_end", 0.012))
    schedule = config.get("beta_schedule", "scaled_linear")
    if schedule == "scaled_linear":
        betas = torch.linspace(math.sqrt(start), math.sqrt(end), steps, dtype=torch.float64) ** 2
    elif schedule == "linear":
        betas = torch.linspace(start, end, steps, dtype=torch.float64)
    else:
        raise SamplingError(f"The scheduler's beta_schedule is {schedule!r}; expected scaled_linear or linear.")
    alphas = (1 - betas).cumprod(0)
    shift = float(config.get("snr_shift_scale", 1.0))
    alphas = alphas / (shift + (1 - shift) * alphas)
    if config.get("rescale_betas_zero_snr"):
        root = alphas.sqrt()
        alphas = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return _without_zero(alphas)


def _without_zero(alphas: Tensor) -> Tensor:
    least = 4.8973451890853435e-08
    if alphas[-1] < least:
        alphas[-1] = least if alphas[-2] > least else alphas[-2] / 2
    return alphas


def _column(sigma: Tensor, like: Tensor) -> Tensor:
    return torch.as_tensor(sigma, device=like.device, dtype=like.dtype).reshape(-1, *[1] * (like.ndim - 1))
