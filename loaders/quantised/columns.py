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
    alike = [
        (weight.format, weight.shape[0], dict(weight.parameters), weight.tensors.keys(), len(weight.shape))
        for weight in weights
    ]
    if not (first.format.layout or is_awq) or any(facts != alike[0] for facts in alike):
        return None
    axes, block = _AXES_AWQ if is_awq else _AXES, _BLOCKS.get(first.format.layout, 0)
    tensors: dict[str, Tensor] = {}
    for role, tensor in first.tensors.items():
        parts = [weight.tensors[role] for weight in weights]
        if role == "weight_scale" and block:
            if any(_is_padded(weight) for weight in weights):
                return None
            blocks = [unswizzled(part, weight.shape[0], weight.tensors["weight"].shape[1] // block)
                      for part, weight in zip(parts, weights, strict=True)]  # fmt: skip
            tensors[role] = swizzled(torch.cat(blocks, 1), tensor.dtype)
        elif role in axes:
            tensors[role] = torch.cat([_bytes(part) for part in parts], axes[role]).view(tensor.dtype)
        elif all(part.shape == tensor.shape and torch.equal(_bytes(part), _bytes(tensor)) for part in parts):
            tensors[role] = tensor
        else:
            return None
    columns = sum(weight.shape[1] for weight in weights)
    return replace(first, shape=(first.shape[0], columns), tensors=tensors)


def _is_padded(weight: PackedWeight) -> bool:
    rows, stored = weight.tensors["weight"].shape
    numbers = stored * (2 if weight.format.layout == nvfp4.FORMAT.layout else 1)
    return (rows, numbers) != weight.shape


def _bytes(tensor: Tensor) -> Tensor:
    """8-bit floats as bytes, because torch neither joins nor compares them."""
    return tensor.view(torch.uint8) if tensor.element_size() == 1 else tensor
