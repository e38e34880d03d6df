"""The largest sum of tensors alive at once while something runs; no allocator and no GPU asked."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class _Live(TorchDispatchMode):
    """Counts every storage an operation returns from its birth to its end, the modules' own apart."""

    def __init__(self, *modules: nn.Module):
        super().__init__()
        self.now = self.peak = 0
        own = [t for module in modules for t in [*module.parameters(), *module.buffers()]]
        self.known = {tensor.untyped_storage()._cdata for tensor in own}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.known:
                storage = tensor.untyped_storage()
                self.known.add(storage._cdata)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return result

    def _gone(self, storage: int, count: int) -> None:
        self.known.discard(storage)
        self.now -= count


def peak_bytes(run: Callable[[], Any], *modules: nn.Module) -> int:
    with torch.no_grad(), _Live(*modules) as live:
        run()
    return live.peak
