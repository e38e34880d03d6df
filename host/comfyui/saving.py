"""Save models with packed weights: those that the host's layers hold, as they are stored; others are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from comfy.quant_ops import QuantizedTensor
from torch import Tensor

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
        layers = {
            name: layer
            for name, layer in root.named_modules()
            if isinstance(getattr(layer, "weight", None), QuantizedTensor)
            and getattr(layer, "comfy_patched_weights", False) is not True
        }
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
                state.update(repacked(layer.weight, numbers).state_dict(f"{name}.weight"))
            bias = f"{prefix}{name}.bias"
            if bias in self.patches and bias not in self.backup:
                state[f"{name}.bias"] = self.patch_weight_to_device(bias, self.load_device, return_weight=True)
        return state

    members = {"model_state_dict_for_saving": model_state_dict_for_saving, "saves_packed": True}
    patcher.__class__ = type(plain.__name__, (plain,), {**members, "__module__": plain.__module__})
