"""AdamW, in 8 bits where bitsandbytes is installed.

Sources: Loshchilov and Hutter 2019 (arXiv 1711.05101); Dettmers et al. 2022 (2110.02861), bitsandbytes' own averages in
blocks of 8 bits: a quarter of the memory of two averages in fp32.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

import torch
from torch import nn

from .errors import TrainingError, trainer_library

OPTIMIZERS = ("auto", "adamw", "adamw 8-bit")
_LIBRARY, _DECAY = "bitsandbytes", 0.01


def resolved(name: str, device: torch.device) -> str:
    """The optimiser that a setting comes to: "auto" is 8-bit on a GPU where bitsandbytes is installed.

    Args:
        name: one of `OPTIMIZERS`.
    Raises:
        TrainingError: 8 bits are asked for without bitsandbytes.
    """
    has_library = find_spec(_LIBRARY) is not None
    if name == "auto":
        return OPTIMIZERS[2] if has_library and device.type == "cuda" else OPTIMIZERS[1]
    if name == OPTIMIZERS[2] and not has_library:
        raise TrainingError(
            f"{name} needs bitsandbytes, which is not installed. Install it (pip install bitsandbytes), or set the "
            "optimizer to adamw, which takes 6 bytes more for each trained number."
        )
    return name


def optimizer_of(name: str, weights: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """
    Args:
        name: as `resolved` returns it.
    """
    if name == OPTIMIZERS[2]:
        return trainer_library(_LIBRARY).optim.AdamW8bit(list(weights), lr=rate, weight_decay=_DECAY)
    return torch.optim.AdamW(weights, lr=rate, weight_decay=_DECAY)


def remark(setting: str, name: str) -> str:
    """What the plan says of the optimiser."""
    if name == OPTIMIZERS[2]:
        return "AdamW in 8 bits (bitsandbytes)"
    if setting == "auto" and find_spec(_LIBRARY) is None:
        return "AdamW in 32 bits; with bitsandbytes installed, 8 bits on a GPU"
    return "AdamW in 32 bits"
