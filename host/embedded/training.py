"""A MODEL's transformer, to be trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...base import Entry, VideoModel
from ..training import TrainingModel, refuse_patches
from .identity import fingerprint
from .model import Model


def training_model(model: Model, from_file: Callable[[Path], VideoModel] | None = None) -> TrainingModel:
    """The MODEL's own transformer: an adapter on it is part of the MODEL until it is taken off."""
    refuse_patches(model)
    model.part.transformer.requires_grad_(False)

    @torch.no_grad()
    def conditions(entry: Entry, shape: Any) -> dict[str, Tensor]:
        return model.conditions(entry, shape)

    return TrainingModel(model.part, model.device, model.dtype, fingerprint(model)[0], conditions)
