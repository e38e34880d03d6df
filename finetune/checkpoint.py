"""A training's state on disk: weights, optimiser, step and measurements, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..loaders.tensor_file import write_tensors
from .adapter import Adapter
from .errors import TrainingError

NAME = "checkpoint.safetensors"
_WEIGHT, _BEST, _STATE = "weight:", "best:", "state:"


def save(
    path: Path, adapter: Adapter, optimizer: torch.optim.Optimizer, best: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    """
    Args:
        best: the weights with the lowest validation loss; empty before the first measurement.
        state: plain values.
    """
    tensors = {_WEIGHT + name: weight.detach() for name, weight in adapter.weights.items()}
    tensors |= {_BEST + name: weight for name, weight in best.items()}
    plain: dict[str, Any] = {}
    # Not its `state_dict()`, in which bitsandbytes nests what it holds in 8 bits.
    for name, weight in adapter.weights.items():
        for key, value in optimizer.state.get(weight, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{_STATE}{name}:{key}"] = value
            else:
                plain[f"{name}:{key}"] = value
    write_tensors(path, tensors, {"state": json.dumps(dict(state)), "optimizer": json.dumps(plain)})


def load(
    path: Path, adapter: Adapter, optimizer: torch.optim.Optimizer, numbers: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(state, best weights); the adapter and the optimiser are set.

    Args:
        numbers: the training's settings and data, which must be those of the checkpoint ("numbers" in its state).
    Raises:
        TrainingError: the checkpoint is of another training, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            state, plain = (json.loads(file.metadata()[name]) for name in ("state", "optimizer"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read ({error}). Delete it to begin anew.") from error
    differing = [name for name in numbers if state["numbers"].get(name) != numbers[name]]
    if differing:
        was, now = state["numbers"].get(differing[0]), numbers[differing[0]]
        raise TrainingError(
            f"{path} is of a training with other settings: {differing[0]} was {_short(was)} and is {_short(now)}. Set "
            "it back to go on, or choose another folder to begin anew."
        )
    names = list(adapter.weights)
    missing = [name for name in names if _WEIGHT + name not in tensors]
    if missing:
        raise TrainingError(f"{path} lacks {missing[0]}. Delete it to begin anew.")
    adapter.load({name: tensors[_WEIGHT + name] for name in names})
    values: dict[int, dict[str, Any]] = {}
    for number, name in enumerate(names):
        start = f"{_STATE}{name}:"
        held = {key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)}
        held |= {k.removeprefix(f"{name}:"): value for k, value in plain.items() if k.startswith(f"{name}:")}
        if held:
            values[number] = held
    optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})
    best = {name.removeprefix(_BEST): tensor for name, tensor in tensors.items() if name.startswith(_BEST)}
    return state, best


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
