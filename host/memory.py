"""Recovery when memory runs out, for both hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_CUDA_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means out of memory: torch's allocator has a class, others are known by number or text."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    return getattr(error, "error_code", None) == _CUDA_OUT_OF_MEMORY or "out of memory" in str(error).lower()


def or_in_tiles(
    pieces: Callable[[bool], Iterator[Tensor]],
    tiled: bool,
    is_short: Callable[[Exception], bool] = is_out_of_memory,
) -> Iterator[tuple[int, Tensor]]:
    """(pieces so far, piece); where memory runs out, in tiles from there on.

    Args:
        pieces: makes all pieces from the first on, in tiles or not.
        tiled: in tiles from the start.
        is_short: whether an error means that memory ran out.
    Raises:
        Exception: memory runs out in tiles too, or something else is wrong.
    """
    done = 0
    while True:
        try:
            for count, piece in enumerate(pieces(tiled), 1):
                if count > done:  # after a restart the first pieces have been yielded already
                    done = count
                    yield done, piece
            return
        except Exception as error:
            if tiled or not is_short(error):
                raise
        # Outside the except clause, because the error keeps alive the tensors that filled the memory.
        tiled = True
