"""A MODEL's transformer, loaded once more to be trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import torch

from ...base import VideoModel
from ..embedded.model import model as plain_model
from ..embedded.training import training_model as plain_training_model
from ..training import TrainingModel, refuse_patches
from .known import network_of
from .model import Model


def training_model(model: Model, from_file: Callable[[Path], VideoModel] | None = None) -> TrainingModel:
    """A copy of its own from the MODEL's files, since the host moves, casts and patches the weights of its MODELs.

    With `from_file`, of a MODEL of the host's own loader too, where the host remembers the file (0.33; not 0.8): the
    LoRA is trained on diffusers' network with the same weights, and matched to the host's layers when it is applied.
    """
    part: Any = getattr(model.model, "opent2v", None)
    refuse_patches(model)
    load = _load_from(model, from_file) if part is None else part.again
    if load is None:
        raise ValueError("This MODEL was not loaded from files, so it cannot be loaded once more to be trained.")
    mm.unload_all_models()
    mm.soft_empty_cache()
    # The host runs its nodes in inference mode, whose tensors no gradient goes through.
    with torch.inference_mode(False):
        return plain_training_model(plain_model(load()))


def _load_from(model: Any, from_file: Callable[[Path], VideoModel] | None) -> Callable[[], VideoModel]:
    """How to load a MODEL of the host's own loader once more.

    Raises:
        ValueError: no family knows its network, or the host does not remember the file.
    """
    network = network_of(model.model)
    made_by = getattr(model, "cached_patcher_init", None)
    path = made_by[1][0] if made_by else None
    if from_file is None or network is None or not isinstance(path, str) or not Path(path).is_file():
        raise ValueError(
            "This MODEL is of another loader, and this ComfyUI does not tell which file it is from, so it cannot be "
            "loaded once more to be trained. Load it with Load Video Model or Load Video Diffusion Model."
        )

    def load() -> VideoModel:
        loaded = from_file(Path(path))
        if loaded.variant.family.id != network.variant.family.id:
            titles = f"{loaded.variant.title} by now, and the MODEL is {network.variant.title}"
            raise ValueError(f"{Path(path).name} is {titles}. Load the MODEL anew.")
        return loaded

    return load
