"""Forwards of a model's modules that are others for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def replaced(modules: Sequence[Any], forward_of: Callable[[Any], Any]) -> Iterator[None]:
    """Inside the context, each module has another forward."""
    before = []
    try:
        for module in modules:
            # Other packs put a forward of their own there.
            before.append((module, vars(module).get("forward")))
            module.forward = forward_of(module)
        yield
    finally:
        for module, forward in before:
            del module.forward
            if forward is not None:
                module.forward = forward


@contextmanager
def without_output(attention: nn.Module, name: str) -> Iterator[Callable[[Tensor], Tensor]]:
    """Inside the context, attention returns what its last layer would read; that layer is handed out.

    Args:
        name: of the last layer, which may be a list of layers; an attention without it ends as it is.
    """
    output = attention._modules.get(name)
    if output is None:
        yield lambda tensor: tensor
        return
    layers = list(output) if isinstance(output, nn.ModuleList) else [output]

    def last(tensor: Tensor) -> Tensor:
        for layer in layers:
            tensor = layer(tensor)
        return tensor

    nothing = nn.Identity()
    attention._modules[name] = nn.ModuleList([nothing] * len(layers)) if isinstance(output, nn.ModuleList) else nothing
    try:
        yield last
    finally:
        attention._modules[name] = output
