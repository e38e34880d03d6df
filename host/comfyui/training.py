"""A MODEL's transformer, loaded once more to be trained."""

from __future__ import annotations

from typing import Any

import comfy.model_management as mm
import torch

from ..embedded.model import model as plain_model
from ..embedded.training import training_model as plain_training_model
from ..training import TrainingModel, refuse_patches
from .model import Model


def training_model(model: Model) -> TrainingModel:
    """A copy of its own from the MODEL's files, since the host moves, casts and patches the weights of its MODELs."""
    part: Any = getattr(model.model, "opent2v", None)
    if part is None:
        raise ValueError(
            "This MODEL is of another loader, whose network is another one than LoRAs are trained on here. Load the "
            "model with Load Video Model or Load Video Diffusion Model."
        )
    if part.again is None:
        raise ValueError("This MODEL was not loaded from files, so it cannot be loaded once more to be trained.")
    refuse_patches(model)
    mm.unload_all_models()
    mm.soft_empty_cache()
    # The host runs its nodes in inference mode, whose tensors no gradient goes through.
    with torch.inference_mode(False):
        return plain_training_model(plain_model(part.again()))
