"""One packed weight with the columns of several, for key rules that join layers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...base.packed import PackedWeight
from . import awq_w4a16, mxfp8, nvfp4
from .swizzle import swizzled, unswizzled

# The axis that columns are on, by role; what is not named belongs to rows or to the whole weight.
_AXES = {"weight": 1, "weight_s_rel": 1, "pre_quant_scale": 0}
_AXES_AWQ = {"weight": 1, "weight_scale": 0, "weight_zeros": 0}
# Bytes of a weight that share a swizzled scale.
_BLOCKS = {nvfp4.FORMAT.layout: 8, mxfp8.FORMAT.layout: 32}


def side_by_side(weights: Sequence[PackedWeight]) -> PackedWeight | None:
    """The weight that holds the columns of all, bit for bit; None where that would take rounding anew.

    It does not where the parts differ in format or settings, or in what they store for rows or for the whole weight.
    """
    first = weights[0]
    is_awq = first.format is awq_w4a16.FORMAT
    if not (first.format.layout or is_awq) or any(_facts(weight) != _facts(first) for weight in weights):
        return None
    axes, block = _AXES_AWQ if is_awq else _AXES, _BLOCKS.get(first.format.layout, 0)
    tensors: dict[str, Tensor] = {}
    for role in first.tensors:
        is_swizzled = role == "weight_scale" and block > 0
        joined = _scales(weights, block) if is_swizzled else _columns(weights, role, axes.get(role))
        if joined is None:
            return None
        tensors[role] = joined
    columns = sum(weight.shape[1] for weight in weights)
    return replace(first, shape=(first.shape[0], columns), tensors=tensors)


def _facts(weight: PackedWeight) -> tuple[object, ...]:
    """What weights side by side have in common."""
    return weight.format, weight.shape[0], dict(weight.parameters), weight.tensors.keys(), len(weight.shape)


def _scales(weights: Sequence[PackedWeight], block: int) -> Tensor | None:
    """Swizzled scales of blocks; None where a weight has padding between its columns."""
    if any(_is_padded(weight) for weight in weights):
        return None
    scales = [
        unswizzled(weight.tensors["weight_scale"], weight.shape[0], weight.tensors["weight"].shape[1] // block)
        for weight in weights
    ]
    return swizzled(torch.cat(scales, 1), weights[0].tensors["weight_scale"].dtype)


def _columns(weights: Sequence[PackedWeight], role: str, axis: int | None) -> Tensor | None:
    """Tensors joined along the axis of their columns; without such an axis the first, if all are equal."""
    parts = [weight.tensors[role] for weight in weights]
    first = parts[0]
    if axis is not None:
        return torch.cat([_bytes(part) for part in parts], axis).view(first.dtype)
    return (
        first if all(part.shape == first.shape and torch.equal(_bytes(part), _bytes(first)) for part in parts) else None
    )


def _is_padded(weight: PackedWeight) -> bool:
    rows, stored = weight.tensors["weight"].shape
    numbers = stored * (2 if weight.format.layout == nvfp4.FORMAT.layout else 1)
    return (rows, numbers) != weight.shape


def _bytes(tensor: Tensor) -> Tensor:
    """8-bit floats as bytes, because torch neither joins nor compares them."""
    return tensor.view(torch.uint8) if tensor.element_size() == 1 else tensor
