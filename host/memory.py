"""The memory that a run may take, and recovery when it runs out, for both hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

_CUDA_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
# What torch's allocators on GPUs, on Linux and on Windows say.
_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class DeviceMemory:
    """Memory in bytes that a run may take, models counted as free that the host would unload for it.

    Attributes:
        device: on the device that computes.
        main: in main memory; the same memory where the device is the processor.
        is_main: the device is the processor.
        offloads: the host leaves weights in main memory that find no room on the device, and brings them while the
            model computes.
    """

    device: float
    main: float
    is_main: bool
    offloads: bool

    @property
    def weights(self) -> float:
        """Bytes for weights and a run together."""
        return self.device + self.main if self.offloads and not self.is_main else self.device


class OutOfMemory(torch.cuda.OutOfMemoryError):
    """Memory ran out; the message says what to lower. The host takes it for torch's own error and frees its models."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means out of memory: torch's allocator has a class, others are known by number or text."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return getattr(error, "error_code", None) == _CUDA_OUT_OF_MEMORY or any(words in text for words in _WORDS)


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


Result = TypeVar("Result")


def or_advice(compute: Callable[[], Result], advice: Callable[[], str]) -> Result:
    """The result of a computation; where memory runs out, an error that says what to lower.

    Raises:
        OutOfMemory: with the advice, which is asked for when the memory of the computation is free again.
    """
    try:
        return compute()
    except Exception as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
    # Outside the except clause, because the error keeps alive the tensors that filled the memory.
    raise OutOfMemory(advice())


def each_or_advice(pieces: Iterator[Tensor], advice: Callable[[], str]) -> Iterator[Tensor]:
    """As `or_advice`, for a computation that yields its result in pieces."""
    while True:
        piece = or_advice(lambda: next(pieces, None), advice)
        if piece is None:
            return
        yield piece
