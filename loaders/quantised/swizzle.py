"""Scales of blocks in the order in which cuBLAS reads them: tiles of 128 rows by 4 blocks, 4 bytes after 4 bytes.

Source: NVIDIA's cuBLAS documentation, "1D block scaling factors layout"; comfy-kitchen 0.2.31 (Apache-2.0),
float_utils.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

TILE_ROWS, TILE_BLOCKS = 128, 4


def rounded_up(number: int, step: int) -> int:
    return -(-number // step) * step


def swizzled_shape(rows: int, blocks: int) -> tuple[int, int]:
    """Of the stored scales of a weight with so many rows, and so many blocks in each."""
    return rounded_up(rows, TILE_ROWS), rounded_up(blocks, TILE_BLOCKS)


def unswizzled(scale: Tensor, rows: int, blocks: int) -> Tensor:
    """Stored scales, of any type of one byte -> bytes [rows, blocks]."""
    padded_rows, padded_blocks = swizzled_shape(rows, blocks)
    tiles = scale.view(torch.uint8).reshape(padded_rows // TILE_ROWS, padded_blocks // TILE_BLOCKS, 32, 4, TILE_BLOCKS)
    return tiles.permute(0, 3, 2, 1, 4).reshape(padded_rows, padded_blocks)[:rows, :blocks]


def swizzled(scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes [rows, blocks] -> stored scales of `dtype`, padded with zeros to whole tiles."""
    rows, blocks = swizzled_shape(*scale.shape)
    padded = scale.new_zeros(rows, blocks)
    padded[: scale.shape[0], : scale.shape[1]] = scale
    tiles = padded.reshape(rows // TILE_ROWS, 4, 32, blocks // TILE_BLOCKS, TILE_BLOCKS).permute(0, 3, 2, 1, 4)
    return tiles.reshape(rows, blocks).contiguous().view(dtype)
