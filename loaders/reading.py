"""Reads tensors from files, and tells how many bytes have been read.

A tensor of a safetensors file is a view of the file that is read from the disk when its numbers are first used, which
may be minutes later and out of sight. Here it is read at once, in pieces, as long as main memory has room for all.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_PIECE = 2**25  # bytes between two reports: a second of a slow disk
_PAGE = 4096

OnBytes = Callable[[int, int], None]  # (bytes read, bytes in all); may raise to stop


class Reading:
    """Counts what is read of some files.

    Args:
        total: bytes in all.
        on_bytes: called before the first and after each piece; None: nothing is told, and nothing is read ahead.
    """

    def __init__(self, total: int, on_bytes: OnBytes | None):
        self.total, self.done, self._on_bytes = total, 0, on_bytes
        self._reads_ahead = on_bytes is not None and total < free_memory()

    def through(self, read: Callable[[str], Tensor]) -> Callable[[str], Tensor]:
        """`read`, which counts."""
        return read if self._on_bytes is None else lambda name: self._counted(read(name))

    def _counted(self, tensor: Tensor) -> Tensor:
        if not self._reads_ahead or not tensor.is_contiguous() or not tensor.numel():
            self._add(tensor.nbytes)
            return tensor
        flat = tensor.detach().reshape(-1).view(torch.uint8)
        for start in range(0, len(flat), _PIECE):
            piece = flat[start : start + _PIECE]
            piece[::_PAGE].sum()  # a byte of each page brings the page in
            self._add(len(piece))
        return tensor

    def _add(self, count: int) -> None:
        self.done = min(self.done + count, self.total)
        assert self._on_bytes is not None
        self._on_bytes(self.done, self.total)


def free_memory() -> float:
    """Bytes of main memory that can be filled; 0 where nothing tells."""
    try:
        import psutil
    except ImportError:
        return 0
    return psutil.virtual_memory().available
