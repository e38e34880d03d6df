"""Running out of memory on the way, on both hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_CUDA_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says so: torch has a class for its own allocator, and others' errors tell by number or text."""
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
                if count > done:  # after a second start the first pieces are there already
                    done = count
                    yield done, piece
            return
        except Exception as error:
            if tiled or not is_short(error):
                raise
        # Outside the clause: the error holds the tensors that filled the memory.
        tiled = True
