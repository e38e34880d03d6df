"""LoRAs of the layer that reads the latents, which is wider where a picture or a control video is read beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

from ...base import FamilyError
from .file import Adapter, LoraFile

if TYPE_CHECKING:
    from .match import Misfit

# The layer that reads the latents, in the makers' names and in diffusers'.
_INPUT = re.compile(r"(?:^|[._])(?:patch_embedding|patch_embed|proj_in|patchify_proj|img_in|x_embedder)(?:[._]|$)")
# The shape that a trainer wants the layer to have.
_RESHAPED = ".reshape_weight"
# Kind of a change -> its factor that has the layer's inputs.
_INNER = {"lora": "down", "diff": "diff"}


def refuse_widened(
    file: LoraFile, model: str, misshapen: Sequence[Misfit], fitting: Sequence[Adapter], readers: Mapping[int, str]
) -> None:
    """
    Args:
        model: its title.
        readers: see `LoraNames`.
        misshapen: changes of layers that the model has in another shape.
        fitting: changes of layers that the model has in this shape.
    Raises:
        FamilyError: the LoRA widens the layer that reads the latents.
    """
    layer, channels = _widened(file, misshapen, fitting)
    if layer and channels in readers:
        raise FamilyError(
            f"{file.path.name}: this LoRA widens {layer}, for a control video or a picture beside the latents, which "
            f"{model} does not read. Half of it would spoil the video, so none is applied. {readers[channels]} read "
            f"{channels} channels there: put it on such a model, or use a LoRA for this one."
        )
    if layer:
        raise FamilyError(
            f"{file.path.name}: this LoRA widens {layer}, for a control video or a picture beside the latents, which "
            f"{model} does not read. Half of it would spoil the video, so none is applied. Use a LoRA for this model, "
            "or ComfyUI's own nodes for control models."
        )


def _widened(file: LoraFile, misshapen: Sequence[Misfit], fitting: Sequence[Adapter]) -> tuple[str, int]:
    """(what a LoRA widens the input layer from and to, in words; its channels, 0: not told); "" for all others."""
    for misfit in misshapen:
        (_, trained), (_, expected) = misfit.trained, misfit.expected
        if _INPUT.search(misfit.adapter.stem) and trained > expected > 0:
            return f"{misfit.adapter.stem} from {expected} to {trained} inputs", _channels(misfit.adapter, trained)
    whole = {adapter.stem for adapter in fitting}
    for name in file.leftovers:
        stem = name.removesuffix(_RESHAPED)
        if name.endswith(_RESHAPED) and _INPUT.search(name) and stem not in whole:
            return stem, 0
    return "", 0


def _channels(adapter: Adapter, inputs: int) -> int:
    """How many channels so many inputs are: those of a convolution are counted with its kernel."""
    inner = adapter.shapes.get(_INNER.get(adapter.kind, ""))
    return inner[1] if inner is not None and len(inner) > 2 else inputs


def is_narrower(adapter: Adapter, shape: Sequence[int]) -> bool:
    """Whether it was trained on the same model without the channels that a picture or a control video has.

    Those of the latents come first, so its change is for the first of the layer's inputs.

    Args:
        shape: of the layer's weight; a convolution's, whose second dimension are the channels.
    """
    inner = adapter.shapes.get(_INNER.get(adapter.kind, ""))
    if inner is None or len(inner) != len(shape) or len(shape) < 3 or not _INPUT.search(adapter.stem):
        return False
    if set(adapter.shapes) & {"dora", "mid"} or adapter.size[0] != shape[0]:
        return False
    return inner[2:] == tuple(shape[2:]) and inner[1] < shape[1]


def for_all_inputs(adapter: Adapter, tensors: dict[str, Tensor], shape: Sequence[int]) -> dict[str, Tensor]:
    """The tensors of a change with zeros for the inputs of the layer that it does not know."""
    if not is_narrower(adapter, shape):
        return tensors
    role = _INNER[adapter.kind]
    missing = shape[1] - tensors[role].shape[1]
    return {**tensors, role: functional.pad(tensors[role], (0, 0) * (len(shape) - 2) + (0, missing))}


def narrower_remark(adapters: Sequence[Adapter], shapes: Mapping[str, Sequence[int]]) -> str:
    """What the user should know of such changes; "" where there are none.

    Args:
        shapes: of the layer that a change is for, by the change's stem.
    """
    for adapter in adapters:
        if is_narrower(adapter, shapes[adapter.stem]):
            trained = adapter.shapes[_INNER[adapter.kind]][1]
            return (
                f"{adapter.stem} was trained on {trained} channels and this model reads {shapes[adapter.stem][1]}: the "
                f"first {trained}, the latents', are changed, those of the picture stay"
            )
    return ""
