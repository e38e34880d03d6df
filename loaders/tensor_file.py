"""Tensors that the pack keeps for itself: written whole or not at all, and told apart by their bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file under its name only when it is whole.

    Raises:
        OSError: it cannot be written; safetensors has an error of its own for what the file system says.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # A clone also leaves inference mode, in which hosts compute, and memory that tensors share.
        plain = {name: torch.empty_like(tensor, device="cpu").copy_(tensor) for name, tensor in tensors.items()}
        save_file({name: tensor.contiguous() for name, tensor in plain.items()}, temporary, dict(metadata))
        os.replace(temporary, path)
    except SafetensorError as error:
        raise OSError(f"{error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def tensor_bytes(tensor: Tensor) -> Any:
    """The bytes of a tensor, as a buffer; numpy by itself has no bfloat16."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
