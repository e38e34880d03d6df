"""Patchers like those of the host's own loaders: dynamic where theirs are, and able to be rebuilt.

It makes one again from the files for a plain MODEL in place of a dynamic one (TorchCompileModel, LoRA hooks), for
another device (its nodes that select one) and for each further GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_patcher
from torch import nn


def patcher(
    model: nn.Module, load_device: Any, offload_device: Any, is_dynamic: bool = True
) -> comfy.model_patcher.ModelPatcher:
    """The host's patcher around a model.

    Args:
        is_dynamic: its weights may be brought to the device layer by layer, while it computes, where the host does so
            (0.16 and newer, on NVIDIA). Only for models of casting layers: all others are brought there whole.
    """
    # The host sets this name when it starts.
    kind = comfy.model_patcher.CoreModelPatcher if is_dynamic and _KNOWS_DYNAMIC else comfy.model_patcher.ModelPatcher
    return kind(model, load_device=load_device, offload_device=offload_device)


def make_reloadable(
    patcher: comfy.model_patcher.ModelPatcher,
    make: Callable[[Any, bool], comfy.model_patcher.ModelPatcher],
    again: Callable[[], Any] | None,
) -> None:
    """Give the host a function that rebuilds a patcher.

    Args:
        make: a loaded part, whether it must not be dynamic -> the patcher around it.
        again: loads the part; None where nobody knows from where.
    """
    if again is not None:
        patcher.cached_patcher_init = (_reload, (make, again))  # pyright: ignore[reportAttributeAccessIssue]


def _reload(
    make: Callable[[Any, bool], comfy.model_patcher.ModelPatcher],
    again: Callable[[], Any],
    disable_dynamic: bool = False,
) -> comfy.model_patcher.ModelPatcher:
    return make(again(), disable_dynamic)


_KNOWS_DYNAMIC = hasattr(comfy.model_patcher, "CoreModelPatcher")
