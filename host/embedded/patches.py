"""LoRA on the embedded host: changed weights stand in for the model's own while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...base import Target, WeightChange
from ...base.weight_changes import storage_of
from .objects import Clip, Model


def patch_target(thing: Model | Clip) -> Target:
    """The weights of a MODEL or CLIP that LoRA files may change."""
    if isinstance(thing, Model):
        variant, modules = thing.part.variant, {"": thing.part.transformer}
    else:
        variant, modules = thing.part.variant, thing.part.encoders
    weights = {
        f"{slot}.{name}" if slot else name: weight
        for slot, module in modules.items()
        for name, weight in module.named_parameters()
    }
    return Target(
        variant.title if isinstance(thing, Model) else f"the text encoder of {variant.title}",
        variant,
        {name: tuple(weight.shape) for name, weight in weights.items()},
        storage=storage_of(weights.values()),
        is_text=isinstance(thing, Clip),
    )


def apply_patches(thing: Any, patches: Sequence[WeightChange], strength: float) -> Any:
    """A MODEL or CLIP that runs with these changes behind those it has; the weights are not touched before."""
    return replace(thing, patches=(*thing.patches, (tuple(patches), strength)))


def teach_lora_loaders(read: Callable[[Target, Mapping[str, Tensor]], Sequence[WeightChange]]) -> None:
    """This host has no LoRA loaders of its own."""
