"""Read the tensors of a matched LoRA."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ...base import WeightChange
from ...base.weight_changes import is_old_glora
from ..containers import open_container
from ..errors import ModelFileError
from .control import for_all_inputs
from .file import Adapter, LoraFile
from .match import Verdict
from .names import WeightSlice
from .scale import scale_of

# Factors that have one row per output of the weight, by kind: only these are indexed for a slice of the rows.
_ROWS = {"lora": ("up",), "loha": ("w1_a", "w2_a"), "diff": ("diff",)}
# Changes of real LoRAs are below 1e3; this leaves fp32 room for the weight that a change is added to or multiplied by.
_LARGEST = 1e30


def load_patches(verdict: Verdict, on_progress: Callable[[int], None] | None = None) -> tuple[WeightChange, ...]:
    """The changes that fit, in their stored dtype.

    Args:
        on_progress: called with the number of layers read.
    Raises:
        ModelFileError: a tensor holds NaN or infinity, or the file is damaged.
    """
    file = verdict.file
    with open_container(file.path).tensors() as read:
        if file.inputs is not None:
            read = file.inputs.reader(read, file.adapters)
        return patches_of(verdict, read, on_progress)


def patches_of(
    verdict: Verdict, read: Callable[[str], Tensor], on_progress: Callable[[int], None] | None = None
) -> tuple[WeightChange, ...]:
    """As `load_patches`, from tensors by their name in the file."""
    patches: list[WeightChange] = []
    for n, (adapter, places) in enumerate(verdict.places, 1):
        largest: dict[str, float] = {}
        tensors = {}
        for role, key in adapter.keys.items():
            tensors[role], largest[role] = _finite(read(key), key, verdict.file)
        alpha = _number(tensors.pop("alpha", None))
        scaled = adapter
        if adapter.follows is not None:
            scaled, key = adapter.follows, adapter.follows.keys.get("alpha")
            alpha = _number(_finite(read(key), key, verdict.file)[0]) if key else None
        scale = scale_of(scaled, alpha, verdict.file.metadata)
        _check_product(adapter, largest, scale, verdict.file)
        tensors = for_all_inputs(adapter, tensors, verdict.target.shapes[places[0].name])
        patches += [_patch(adapter, verdict.target.prefix, place, tensors, scale) for place in places]
        if on_progress:
            on_progress(n)
    return tuple(patches)


def _patch(adapter: Adapter, prefix: str, place: WeightSlice, tensors: dict[str, Tensor], scale: float) -> WeightChange:
    key, pick, rows = prefix + place.name, place.pick, _ROWS.get(adapter.kind, ())
    if adapter.kind == "glora":
        rows = ("b2",) if is_old_glora(adapter.shapes["a1"]) else ("b1",)
    if pick is None:
        return WeightChange(key, adapter.kind, tensors, scale, place.rows)
    if adapter.kind == "oft":
        return WeightChange(key, "oft", _turned(tensors, scale, pick), 0.0, place.rows)
    has_rows = bool(rows) and "mid" not in tensors and "t1" not in tensors
    taken = {*(rows if has_rows else ()), *(("dora",) if "dora" in tensors else ())}
    picked = {role: tensor[pick] if role in taken else tensor for role, tensor in tensors.items()}
    return WeightChange(key, adapter.kind, picked, scale, place.rows, None if has_rows else pick)


def _turned(tensors: dict[str, Tensor], constraint: float, pick: Tensor) -> dict[str, Tensor]:
    """The OFT blocks for these rows.

    The constraint is a norm over all blocks, so it is applied here, before the blocks are selected.
    """
    blocks = tensors["blocks"].float()
    if constraint > 0:
        blocks = blocks * (constraint / ((blocks - blocks.mT).norm() + 1e-8)).clamp(max=1)
    size = blocks.shape[-1]
    picked = {"blocks": blocks[pick[::size] // size]}
    return picked | ({"rescale": tensors["rescale"][pick]} if "rescale" in tensors else {})


def _check_product(adapter: Adapter, largest: Mapping[str, float], scale: float, file: LoraFile) -> None:
    """
    Args:
        largest: by role, the largest absolute value of each tensor.
    Raises:
        ModelFileError: the product can leave the numbers of fp32, and the changed weights would be infinite.
    """
    factors = [value for role, value in largest.items() if role not in ("alpha", "dora", "rescale")]
    bound = abs(scale) * max(1, adapter.rank) ** 2 * math.prod(factors)
    # Rotations multiply each block with itself, and DoRA's norms and scales multiply rows of any size.
    alone = [value**2 for role, value in largest.items() if role in ("blocks", "dora", "rescale")]
    largest_value = max(largest.values())
    if not max([bound, *alone]) < _LARGEST:
        raise ModelFileError(
            f"{file.path}: the factors of {adapter.stem} are up to {largest_value:.3g} and its scale is {scale:.3g}, "
            "a change beyond the numbers of fp32. The training went wrong or the file is damaged: use another version "
            "of this LoRA."
        )


def _finite(tensor: Tensor, key: str, file: LoraFile) -> tuple[Tensor, float]:
    """(the tensor, its largest absolute value)."""
    tensor = tensor.bfloat16() if tensor.element_size() == 1 else tensor
    # min and max cost a tenth of `isfinite(...).all()`, and both are NaN as soon as one element is.
    ends = [float(end) for end in torch.aminmax(tensor)] if tensor.numel() else [0.0]
    if not all(map(math.isfinite, ends)):
        raise ModelFileError(
            f"{file.path}: {key} holds NaN or infinity. The training went wrong or the file is damaged: use another "
            "version of this LoRA."
        )
    return tensor, max(map(abs, ends))


def _number(tensor: Tensor | None) -> float | None:
    return None if tensor is None else float(tensor.flatten()[0])
