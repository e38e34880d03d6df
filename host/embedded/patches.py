"""LoRAs on the embedded host: changed weights replace the model's own while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ...base import Target, VideoModel, WeightChange
from ...base.few_steps import FewStepsLora
from ...base.packed import unpacked
from ...base.strengths import Strengths
from ...base.weight_changes import apply_change, storage_of

# Changes in the order they were added, each with its strength.
Patches = tuple[tuple[tuple[WeightChange, ...], float], ...]


@contextmanager
def changed(modules: Mapping[str, nn.Module], patches: Patches, dtype: torch.dtype) -> Iterator[None]:
    """Put changed weights into the modules; at the end the original tensors are put back.

    Args:
        modules: by the slot that names of weights start with; "" for names without one.
        dtype: the model computes in; changed weights have it, so that a weight in few bits is never rounded back.
    """
    listed: dict[str, list[tuple[WeightChange, float]]] = {}
    for group, strength in patches:
        for patch in group:
            listed.setdefault(patch.key, []).append((patch, strength))
    originals: list[tuple[nn.Module, str, nn.Parameter | None]] = []
    try:
        for key, changes in listed.items():
            owner, leaf = _owner(modules, key)
            weight = owner._parameters[leaf]
            assert weight is not None
            originals.append((owner, leaf, weight))
            new = unpacked(weight, torch.float32).detach()
            for patch, strength in changes:
                new = apply_change(new, patch, strength)
            kept = weight.dtype if weight.dtype == torch.float32 else dtype
            owner._parameters[leaf] = nn.Parameter(new.to(kept), requires_grad=False)
        yield
    finally:
        for owner, leaf, weight in originals:
            owner._parameters[leaf] = weight


def _owner(modules: Mapping[str, nn.Module], key: str) -> tuple[nn.Module, str]:
    slot, module = next((s, m) for s, m in modules.items() if key.startswith(s + "." if s else ""))
    path, _, leaf = (key[len(slot) + 1 :] if slot else key).rpartition(".")
    return module.get_submodule(path), leaf


def patch_target(thing: Any) -> Target:
    part, variant = thing.part, thing.part.variant
    is_text_encoder = not isinstance(part, VideoModel)
    modules = part.encoders if is_text_encoder else {"": part.transformer}
    weights = {
        f"{slot}.{name}" if slot else name: weight
        for slot, module in modules.items()
        for name, weight in module.named_parameters()
    }
    storage, is_merged = storage_of(weights.values())
    return Target(
        f"the text encoder of {variant.title}" if is_text_encoder else variant.title,
        variant,
        {name: tuple(weight.shape) for name, weight in weights.items()},
        storage=storage,
        is_merged=is_merged,
        is_text_encoder=is_text_encoder,
        tensor=weights.get,
    )


def apply_patches(
    thing: Any,
    patches: Sequence[WeightChange],
    strength: float,
    strengths: Strengths | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Any:
    """No node here reads a LoRA's metadata from a MODEL."""
    if strengths is None:
        return replace(thing, patches=(*thing.patches, (tuple(patches), strength)))
    place = len(thing.patches)
    first = strength * strengths.parts[0][1]
    return replace(
        thing,
        patches=(*thing.patches, (tuple(patches), first)),
        strengths=(*thing.strengths, (place, strength, strengths)),
    )


def strengths_of(model: Any) -> tuple[Strengths, ...]:
    return tuple(strengths for _, _, strengths in model.strengths)


def at_strengths(model: Any, factors: Sequence[float]) -> Any:
    """The MODEL with the LoRAs whose strength changes at these factors; the others stay as they are."""
    patches = list(model.patches)
    for (place, strength, _), factor in zip(model.strengths, factors, strict=True):
        patches[place] = patches[place][0], strength * factor
    return replace(model, patches=tuple(patches))


def with_few_steps(model: Any, lora: FewStepsLora) -> Any:
    return replace(model, few_steps=(*model.few_steps, lora))


def few_steps(model: Any) -> tuple[FewStepsLora, ...]:
    return model.few_steps
