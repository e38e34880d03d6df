"""Two numbers of 4 bits in a byte."""

from __future__ import annotations

import torch
from torch import Tensor


def pairs(values: Tensor, *, high_first: bool) -> Tensor:
    """What each byte means, float32 [256, 2].

    Args:
        values: float32 [16], what each 4 bits mean.
        high_first: the upper half of a byte is the number that comes first.
    """
    byte = torch.arange(256, device=values.device)
    low, high = values[byte & 15], values[byte >> 4]
    return torch.stack((high, low) if high_first else (low, high), -1)


def spread(stored: Tensor, table: Tensor) -> Tensor:
    """Bytes [rows, n] of any type of one byte -> numbers [rows, 2 n], by a table of `pairs`."""
    return table[stored.view(torch.uint8).int()].flatten(1)
