"""ConvRot: weights that are stored rotated by a regular Hadamard matrix, in groups of columns.

Source: comfy-kitchen 0.2.31 (Apache-2.0), backends/eager/convrot_w4a4.py.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

# Sizes of a group: powers of 4.
GROUPS = (4, 16, 64, 256, 1024)
# Fewer rows than this, and torch multiplies them by another kernel that rounds differently.
_ROWS = 32


@cache
def hadamard(size: int, device: torch.device) -> Tensor:
    """The matrix [size, size], symmetric and its own inverse."""
    with torch.inference_mode(False):
        smallest = torch.tensor(
            [[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]], dtype=torch.float32, device=device
        )
        matrix = smallest
        while len(matrix) < size:
            matrix = torch.kron(matrix, smallest)
        return matrix / size**0.5


def unrotated(weight: Tensor, group: int) -> Tensor:
    """Undo (or do) the rotation of a float32 weight [rows, columns]; columns are a multiple of `group`."""
    grouped = weight.reshape(-1, group)
    count = len(grouped)
    if count < _ROWS:
        grouped = torch.cat([grouped, grouped.new_zeros(_ROWS - count, group)])
    return (grouped @ hadamard(group, weight.device))[:count].reshape(weight.shape)
