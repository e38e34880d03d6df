"""Mean and spread of latents: ComfyUI's files hold them as tensors, the configs of diffusers' classes as numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...base.keys import rename

NAMES = ("latents_mean", "latents_std")
RULES = tuple(rename(f"^{name}", f"statistics.{name}") for name in NAMES)


def add(module: nn.Module, channels: int) -> None:
    """Places for a file's tensors, in a module of their own, since diffusers' classes have these names already."""
    module.statistics = nn.Module()
    for name in NAMES:
        module.statistics.register_buffer(name, torch.zeros(channels))


def of(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation) of the latents [B, C, ...], per channel [1, C, 1, ...]."""
    source = getattr(vae, "statistics", vae.config)
    shape = (1, -1, *[1] * (like.ndim - 2))
    mean, std = (torch.as_tensor(getattr(source, name)).to(like).view(shape) for name in NAMES)
    return mean, std
