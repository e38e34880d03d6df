"""Short texts that tell models apart, by a sample of their weights (the same on both hosts) and of their patches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from torch import Tensor, uint8

from ..base.packed import PackedTensor

# What is looked at: a model has thousands of tensors, and no fine-tune leaves all of these as they were.
TENSORS, VALUES = 64, 64


def of_weights(weights: Mapping[str, Tensor]) -> str:
    """Of names, shapes, dtypes and values; as long as they are the same, wherever the weights lie."""
    plain = {name.replace("_orig_mod.", ""): weight for name, weight in weights.items()}  # torch.compile's prefix
    told = sha256()
    for name in _spread(sorted(plain)):
        told.update(name.encode())
        _add(told, plain[name])
    return told.hexdigest()[:16]


def of_patches(patches: Mapping[Any, Any]) -> str:
    """Of what is patched into a model (LoRAs) and how strongly; "" where nothing is."""
    if not patches:
        return ""
    told = sha256()
    for key in _spread(sorted(patches, key=str)):
        told.update(str(key).encode())
        _add(told, patches[key])
    return told.hexdigest()[:16]


def _spread(names: list[Any]) -> Iterable[Any]:
    return names[:: -(-len(names) // TENSORS)] if names else names


def _add(told: Any, value: Any) -> None:
    if isinstance(value, PackedTensor):
        _add(told, list(value.packed.tensors.values()))
    elif isinstance(value, Tensor):
        told.update(f"{value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().reshape(-1)
        told.update(flat[:: -(-len(flat) // VALUES) or 1].cpu().contiguous().view(uint8).numpy().tobytes())
    elif isinstance(value, list | tuple):
        for one in value:
            _add(told, one)
    elif hasattr(value, "weights"):  # the host's adapters
        _add(told, value.weights)
    elif isinstance(value, str | int | float):
        told.update(repr(value).encode())
