"""What nvfp4 and mxfp8 share: rows of blocks, each block with a swizzled scale, padded to whole tiles."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...base.packed import PackedWeight, take_rows
from .parts import LayerParts
from .swizzle import TILE_ROWS, rounded_up, swizzled, unswizzled


def numbers_shape(parts: LayerParts, stored: tuple[int, int], step: int) -> tuple[int, int]:
    """(rows, columns) of a weight's numbers, whose stored ones [rows, columns] are padded to multiples of `step`.

    The mark may state them, and bias and factors show them; else nothing is padded.
    """
    sizes = parts.stated_shape() or (parts.length("bias", stored[0]), parts.length("pre_quant_scale", stored[1]))
    rows, columns = (
        size if rounded_up(size, step) == whole else whole for size, whole in zip(sizes, stored, strict=True)
    )
    return rows, columns


def block_rows(weight: PackedWeight, index: Tensor, block: int, step: int) -> dict[str, Tensor]:
    """The tensors of some rows, the weight padded with zeros as converters pad it.

    Args:
        block: bytes of the stored weight that share a scale.
        step: rows are padded to a multiple of it.
    """
    stored, scale = weight.tensors["weight"], weight.tensors["weight_scale"]
    rows = take_rows(stored, index)
    missing = rounded_up(len(rows), step) - len(rows)
    if missing:
        padding = torch.zeros(missing, rows.shape[1], dtype=torch.uint8, device=rows.device)
        rows = torch.cat([rows.view(torch.uint8), padding]).view(stored.dtype)
    # Tiles lie behind each other: of a part of the weight, only the tiles in which its rows are have to be unswizzled.
    first = int(index.min()) // TILE_ROWS * TILE_ROWS if len(index) else 0
    last = rounded_up(int(index.max()) + 1, TILE_ROWS) if len(index) else 0
    plain = unswizzled(scale[first:last], last - first, stored.shape[1] // block)[index - first]
    return {**weight.tensors, "weight": rows, "weight_scale": swizzled(plain, scale.dtype)}


def rows_of_blocks(weight: PackedWeight, block: int) -> Mapping[str, Tensor]:
    """The weight's bytes and its unswizzled scales, row by row, without the padding rows."""
    stored, count = weight.tensors["weight"], weight.shape[0]
    scale = unswizzled(weight.tensors["weight_scale"], len(stored), stored.shape[1] // block)
    return {"weight": stored[:count], "scale": scale[:count]}
