"""Dequantise a weight in pieces of rows, so that its float32 numbers never exist as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ...base.packed import PackedWeight, take_rows
from ..cast import check_range

# Numbers at a time: on a CPU what stays in its cache, elsewhere what keeps a GPU busy.
_CPU, _GPU = 2**18, 2**24


def in_pieces(
    tensors: Mapping[str, Tensor],
    shape: tuple[int, int],
    dtype: torch.dtype,
    decode: Callable[[Mapping[str, Tensor]], Tensor],
) -> Tensor:
    """The numbers [rows, columns] as `dtype`, computed in float32 and rounded once.

    Args:
        tensors: that have a row for each row of the weight.
        decode: some rows of these tensors -> their numbers in float32.
    Raises:
        OverflowError: a number that `dtype` would make infinite; the message begins with "holds".
    """
    rows, columns = shape
    device = next(iter(tensors.values())).device
    count = max(1, (_CPU if device.type == "cpu" else _GPU) // max(1, columns))
    result = torch.empty(shape, dtype=dtype, device=device)
    for start in range(0, rows, count):
        numbers = decode({role: tensor[start : start + count] for role, tensor in tensors.items()})
        check_range(numbers, dtype)
        result[start : start + count] = numbers
    return result


def scaled_rows(weight: PackedWeight, index: Tensor) -> Mapping[str, Tensor]:
    """The tensors of some rows of a weight with one scale, or with one for each row."""
    scale = weight.tensors["weight_scale"]
    return {
        **weight.tensors,
        "weight": take_rows(weight.tensors["weight"], index),
        "weight_scale": scale if scale.numel() == 1 else take_rows(scale, index),
    }


def by_row(scale: Tensor, rows: int) -> Tensor:
    """A scale of the whole weight, or one for each row, as float32 [rows, 1]."""
    return scale.float().reshape(-1, 1).expand(rows, 1)
