"""Fingerprints of models: short texts from a sample of their weights (the same on both hosts) and of their patches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from torch import Tensor, uint8

from ..base.packed import PackedTensor

# Size of the sample. A model has thousands of tensors, and a fine-tune changes at least some of these.
TENSORS, VALUES = 64, 64


def of_weights(weights: Mapping[str, Tensor | Mapping[str, Tensor]]) -> str:
    """Fingerprint of names, shapes, dtypes and values; the device does not matter.

    Args:
        weights: tensors, and packed weights as the file's tensors by role.
    """
    plain = {name.replace("_orig_mod.", ""): weight for name, weight in weights.items()}  # torch.compile's prefix
    digest = sha256()
    for name in _spread(sorted(plain)):
        digest.update(name.encode())
        _add(digest, plain[name])
    return digest.hexdigest()[:16]


def of_patches(patches: Mapping[Any, Any]) -> str:
    """Fingerprint of a model's patches (LoRAs) and their strengths; "" without patches."""
    if not patches:
        return ""
    digest = sha256()
    for key in _spread(sorted(patches, key=str)):
        digest.update(str(key).encode())
        _add(digest, patches[key])
    return digest.hexdigest()[:16]


def _spread(names: list[Any]) -> Iterable[Any]:
    return names[:: -(-len(names) // TENSORS)] if names else names


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, PackedTensor | Mapping):
        # By their bytes alone, because hosts view the bytes of scales as different dtypes.
        tensors = value.packed.tensors if isinstance(value, PackedTensor) else value
        for role in sorted(tensors):
            digest.update(f"{role} {tuple(tensors[role].shape)}".encode())
            digest.update(_sample(tensors[role].contiguous().reshape(-1).view(uint8)))
    elif isinstance(value, Tensor):
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        digest.update(_sample(value.detach().reshape(-1)))
    elif isinstance(value, list | tuple):
        for item in value:
            _add(digest, item)
    elif hasattr(value, "weights"):  # the host's adapters
        _add(digest, value.weights)
    elif isinstance(value, str | int | float):
        digest.update(repr(value).encode())


def _sample(flat: Tensor) -> bytes:
    """Bytes of values spread over a tensor [n]."""
    return flat[:: -(-len(flat) // VALUES) or 1].cpu().contiguous().view(uint8).numpy().tobytes()
