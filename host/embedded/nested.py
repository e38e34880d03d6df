"""LATENTs of several streams on the embedded host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class NestedTensor:
    """Several tensors in place of one, with the interface of ComfyUI's class of this name.

    It is no Tensor; what it says of its shape, device and dtype is the first one's.
    """

    is_nested = True

    def __init__(self, tensors: Sequence[Tensor]):
        self.tensors = list(tensors)

    def unbind(self) -> list[Tensor]:
        return self.tensors

    def to(self, *args: Any, **kwargs: Any) -> NestedTensor:
        return self._each(lambda stream: stream.to(*args, **kwargs))

    def float(self) -> NestedTensor:
        return self._each(Tensor.float)

    def cpu(self) -> NestedTensor:
        return self._each(Tensor.cpu)

    def _each(self, change: Callable[[Tensor], Tensor]) -> NestedTensor:
        return NestedTensor([change(tensor) for tensor in self.tensors])

    @property
    def shape(self) -> torch.Size:
        return self.tensors[0].shape

    @property
    def ndim(self) -> int:
        return max(tensor.ndim for tensor in self.tensors)

    @property
    def device(self) -> torch.device:
        return self.tensors[0].device

    @property
    def dtype(self) -> torch.dtype:
        return self.tensors[0].dtype


def nested(streams: Sequence[Tensor]) -> Any:
    return streams[0] if len(streams) == 1 else NestedTensor(streams)
