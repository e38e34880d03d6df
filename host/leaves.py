"""Switch a built module's leaf layers to classes that cast their weights while they compute."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def switch_leaves(module: nn.Module, table: Mapping[type[nn.Module], type[nn.Module]]) -> nn.Module:
    """Change the class of every leaf whose exact type is in the table; weights, names and hooks stay.

    Only exact types: a subclass with a forward of its own would lose it.
    """
    for leaf in module.modules():
        switched = table.get(type(leaf))
        if switched is not None:
            leaf.__class__ = switched
            # Casting layers read .bias even where the plain layer (an embedding, an RMS norm) has none.
            if not hasattr(leaf, "bias"):
                leaf.bias = None
    return module
