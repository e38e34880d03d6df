"""A transformer that is trained; the same on both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..base import Entry, VideoModel


@dataclass(frozen=True)
class TrainingModel:
    """A transformer on its device, whose layers cast their weights, packed ones too, while they compute.

    Gradients go through it; its own weights get none.

    Attributes:
        dtype: it computes in.
        fingerprint: of its weights, as the host tells it of a MODEL.
        conditions: (entry of a CONDITIONING, shape of the latents) -> what `part.predict` reads, on the device.
    """

    part: VideoModel
    device: torch.device
    dtype: torch.dtype
    fingerprint: str
    conditions: Callable[[Entry, Any], dict[str, Tensor]]


def refuse_patches(model: Any) -> None:
    """
    Args:
        model: the host's MODEL.
    Raises:
        ValueError: LoRAs are applied to it.
    """
    if model.patches:
        raise ValueError("This MODEL has LoRAs applied; a new one is trained on a model without. Take them out.")
