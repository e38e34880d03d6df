"""The dtype that each weight is stored in while its model is loaded."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..base.packed import PackedWeight
from ..base.storage import FP8
from .cast import cast
from .errors import ModelFileError


def fp32_names(module: nn.Module) -> tuple[str, ...]:
    """Name parts the library keeps in full precision, whatever the storage dtype."""
    return tuple(getattr(module, "_keep_in_fp32_modules", None) or ())


# Lists that contain the layers of a transformer or a UNet.
_INNER = frozenset({"blocks", "transformer_blocks", "single_transformer_blocks", "resnets", "temp_convs"})


def stored_dtype(
    name: str, weight: Tensor | PackedWeight, dtype: torch.dtype | None, keep_fp32: tuple[str, ...]
) -> torch.dtype:
    if isinstance(weight, PackedWeight):
        dtype = dtype or torch.float32
    elif not weight.is_floating_point() or (dtype is None and weight.dtype not in FP8):
        return weight.dtype
    else:
        dtype = dtype or weight.dtype
    if any(part in name.split(".") for part in keep_fp32):
        return torch.float32
    if dtype in FP8:
        # Embedders and norms stay out of fp8: their dtype decides the dtype of the timestep and the activations, and
        # they are a small share of the weights.
        inner = not _INNER.isdisjoint(name.split("."))
        matrix = len(weight.shape) >= 2 and name.endswith(".weight") and "norm" not in name
        return dtype if inner and matrix else torch.bfloat16
    return dtype


def as_dtype(name: str, weight: Tensor | PackedWeight, target: torch.dtype, path: Path) -> Tensor:
    try:
        return weight.dequantise(target) if isinstance(weight, PackedWeight) else cast(weight, target)
    except OverflowError as error:
        raise ModelFileError(f"{path}: {name} {error}. Load the model with dtype bf16 or fp32.") from error
