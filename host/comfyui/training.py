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
    if part is not None and part.again is None:
        raise ValueError("This MODEL was not loaded from files, so it cannot be loaded once more to be trained.")
    file = _file_of(model, from_file is not None) if part is None else None
    mm.unload_all_models()
    mm.soft_empty_cache()
    # The host runs its nodes in inference mode, whose tensors no gradient goes through.
    with torch.inference_mode(False):
        if file is None or from_file is None:
            return plain_training_model(plain_model(part.again()))
        loaded = from_file(file)
        _check(loaded, model, file)
        return plain_training_model(plain_model(loaded))


def _file_of(model: Any, loads_files: bool) -> Path:
    """The file of a MODEL of the host's own loader.

    Raises:
        ValueError: no family knows its network, or the host does not remember the file.
    """
    network = network_of(model.model)
    made_by = getattr(model, "cached_patcher_init", None)
    path = made_by[1][0] if made_by else None
    if not loads_files or network is None or not isinstance(path, str) or not Path(path).is_file():
        raise ValueError(
            "This MODEL is of another loader, and this ComfyUI does not tell which file it is from, so it cannot be "
            "loaded once more to be trained. Load it with Load Video Model or Load Video Diffusion Model."
        )
    return Path(path)


def _check(loaded: VideoModel, model: Any, file: Path) -> None:
    """
    Raises:
        ValueError: the file is of another model by now.
    """
    network = network_of(model.model)
    assert network is not None
    if loaded.variant.family.id != network.variant.family.id:
        title = network.variant.title
        raise ValueError(f"{file.name} is {loaded.variant.title} by now, and the MODEL is {title}. Load it anew.")
