"""Save models with packed weights: those that the host's layers hold, as they are stored; others are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from comfy.quant_ops import QuantizedTensor
from torch import Tensor, nn

from ...base import FamilyError
from ...base.packed import PackedTensor
from .quantised import HoldsPacked, repacked


def refuse_saving(weights: Iterable[Tensor], title: str) -> None:
    """Refuse to save weights that no layer of the host holds.

    Raises:
        FamilyError: the first of them, by its format.
    """
    packed = next((weight.packed for weight in weights if isinstance(weight, PackedTensor)), None)
    if packed is not None:
        raise FamilyError(
            f"{title} weights are stored as {packed.format.name}, which cannot be saved again. Load its file with "
            "dtype bf16 or fp16, then save."
        )


def save_packed_layers(patcher: Any, changed: Callable[[str, Any, Any], Callable[[Tensor], Tensor]]) -> None:
    """Have a patcher of the host save quantised layers as they are stored, and those with a LoRA packed anew.

    The host fails to save int8 and fp4 weights that it has not merged (`LazyCastingParamPiece` makes them parameters
    with a gradient).

    Args:
        changed: key, patches, layer -> the function that applies the patches to the layer's stored numbers.
    """
    plain = type(patcher)
    if hasattr(plain, "saves_packed") or not hasattr(QuantizedTensor, "requantize_from_float"):
        return

    def model_state_dict_for_saving(self: Any, model: Any = None, prefix: str = "") -> dict[str, Any]:
        root = self.model if model is None else model
        quantised = {
            name: layer
            for name, layer in root.named_modules()
            if isinstance(getattr(layer, "weight", None), QuantizedTensor)
        }
        unmerged = lambda layer: getattr(layer, "comfy_patched_weights", False) is not True  # noqa: E731
        layers = {name: layer for name, layer in quantised.items() if unmerged(layer)}
        before = {name: vars(layer).get("comfy_patched_weights") for name, layer in layers.items()}
        for layer in layers.values():
            layer.comfy_patched_weights = True  # the host then takes its tensors as they are
        try:
            state = plain.model_state_dict_for_saving(self, model, prefix)
        finally:
            for name, layer in layers.items():
                if before[name] is None:
                    del layer.comfy_patched_weights
                else:
                    layer.comfy_patched_weights = before[name]
        for name, layer in layers.items():
            key = f"{prefix}{name}.weight"
            if key in self.patches and (key not in self.backup or isinstance(layer, HoldsPacked)):
                numbers = changed(key, self.patches, layer)(layer.weight.to(torch.float32).dequantize())
                _replace(state, name, layer, repacked(layer.weight, numbers))
            bias = f"{prefix}{name}.bias"
            if bias in self.patches and bias not in self.backup:
                state[f"{name}.bias"] = self.patch_weight_to_device(bias, self.load_device, return_weight=True)
        _unshare(state, quantised)
        return state

    members = {"model_state_dict_for_saving": model_state_dict_for_saving, "saves_packed": True}
    patcher.__class__ = type(plain.__name__, (plain,), {**members, "__module__": plain.__module__})


def _replace(state: dict[str, Any], name: str, layer: Any, weight: Any) -> None:
    """Put a layer's tensors into a state dict as if it held another weight, with the settings of that one."""
    for stored in layer.state_dict(prefix=f"{name}."):
        if stored != f"{name}.bias":
            state.pop(stored, None)
    held = layer.weight
    layer._parameters["weight"] = nn.Parameter(weight, requires_grad=False)
    try:
        state |= {stored: part for stored, part in layer.state_dict(prefix=f"{name}.").items() if stored not in state}
    finally:
        layer._parameters["weight"] = held


def _unshare(state: dict[str, Any], layers: Mapping[str, Any]) -> None:
    """Copy the scales that layers split from one matrix share, since safetensors refuses shared tensors."""
    seen = set()
    for name, layer in layers.items():
        for stored in layer.state_dict(prefix=f"{name}."):
            tensor = state[stored]
            place = tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape
            if place in seen:
                state[stored] = tensor.detach().clone()
            seen.add(place)
