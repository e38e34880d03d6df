"""Looks on while a network computes: how many of its blocks are done, and whether the user wants it to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def watched(networks: Iterable[nn.Module], on_block: Callable[[int, int], None], times: int = 1) -> Iterator[None]:
    """Call `on_block` before each block of the networks computes; it may raise to stop the computation.

    A block is a member of an `nn.ModuleList`, as the layers of transformers and the stages of VAEs are. Networks are as
    they were when the context ends.

    Args:
        on_block: (blocks begun so far, blocks in all); the first stays at or below the second.
        times: how often each block is expected to compute.
    """
    lists = [module for network in networks for module in network.modules() if isinstance(module, nn.ModuleList)]
    # diffusers' Mochi VAE has lists with None where a stage lacks a layer.
    blocks = {id(block): block for each in lists for block in each if block is not None}
    total, begun = max(1, len(blocks) * times), 0

    def hook(*_: Any) -> None:
        nonlocal begun
        if torch.compiler.is_compiling():
            return
        begun += 1
        on_block(min(begun, total), total)

    handles = [block.register_forward_pre_hook(hook) for block in blocks.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def interruptible(network: nn.Module, check: Callable[[], None]) -> Iterator[None]:
    """Call `check` before each layer of a network computes; it may raise to stop the computation.

    For VAEs, whose streamed decoders call layers and not the blocks that hold them. A call that is compiled is not
    stopped.
    """
    if torch.compiler.is_compiling():
        yield
        return

    def hook(*_: Any) -> None:
        if not torch.compiler.is_compiling():
            check()

    layers = [module for module in network.modules() if next(module.children(), None) is None]
    handles = [layer.register_forward_pre_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
