"""What the host's loading leaves undone: tables that it passes over, and changes that it would round to fp8."""

from __future__ import annotations

from typing import Any

import comfy.lora
import comfy.model_patcher
import comfy.utils
import torch
from comfy.patcher_extension import CallbacksMP
from comfy.quant_ops import QuantizedTensor
from torch import Tensor

from ...base.packed import PackedTensor
from ...base.storage import FP8

KEY = "opent2v_lora"


def settle_on_load(patcher: Any) -> None:
    """Finish what the host's loading leaves undone, each time a MODEL or CLIP is loaded."""
    patcher.remove_callbacks_with_key(CallbacksMP.ON_LOAD, KEY)
    patcher.add_callback_with_key(CallbacksMP.ON_LOAD, KEY, _settle)


def _settle(patcher: Any, device_to: Any, lowvram_memory: Any = 0, force_patch_weights: bool = False, *_: Any) -> None:
    """Patch the weights that the host passes over, and keep it from rounding a change into few bits.

    It passes over tables outside layers and, in a partial load, layers without a casting class. It merges a change into
    fp8 weights that fit into memory, or into scaled ones, and rounds: here it is computed beside them instead. Dynamic
    loading does so as soon as a weight has its place on the device.
    """
    has_fp8 = any(weight.dtype in FP8 for weight in patcher.model.parameters())
    computes = getattr(patcher.model, "manual_cast_dtype", None) or torch.bfloat16
    # Newer hosts' dynamic loading puts everything back before each load.
    is_dynamic = getattr(patcher, "is_dynamic", bool)()
    for key in list(patcher.patches):
        path, _, leaf = key.rpartition(".")
        layer, weight = patcher.model.get_submodule(path), comfy.utils.get_attr(patcher.model, key)
        is_packed = isinstance(weight, QuantizedTensor | PackedTensor)
        is_small = is_packed or (has_fp8 and weight.dtype.itemsize < computes.itemsize)
        if leaf not in ("weight", "bias") or not hasattr(layer, "comfy_cast_weights"):
            if is_dynamic or key not in patcher.backup:
                patcher.patch_weight_to_device(key, device_to)
        elif is_dynamic:
            # Where a layer has no place of its own, the change is in its weight already, and is not to be saved twice.
            layer.comfy_patched_weights = not hasattr(layer, "_v")
            if is_small:
                _beside_places(patcher, layer, key, leaf, computes)
        elif is_small and not force_patch_weights:
            _while_computing(patcher, layer, key, leaf)


class WhileComputing(comfy.model_patcher.LowVramPatch):
    """The host's way for weights that it does not hold, without rounding the result to what the weight is stored as."""

    def __init__(self, key: str, patches: Any, layer: Any):
        super().__init__(key, patches)
        self.convert = getattr(layer, f"convert_{key.rpartition('.')[2]}", None)

    def __call__(self, weight: Tensor) -> Tensor:
        whole, scale = weight.to(torch.float32, copy=True), None
        if self.convert is not None:  # scaled fp8: the layer multiplies by its scale behind this
            scale = self.convert(torch.ones((), device=weight.device))
            whole *= scale
        whole = comfy.lora.calculate_weight(self.patches[self.key], whole, self.key)
        return (whole if scale is None else whole / scale).to(weight.dtype)


def _beside_places(patcher: Any, layer: Any, key: str, leaf: str, computes: torch.dtype) -> None:
    """Under dynamic loading: a change beside a weight that gets a place on the device while it is needed."""
    if hasattr(layer, "_v"):
        # The host would write the changed weight, rounded, into its place, and compute with that from then on.
        setattr(layer, f"{leaf}_lowvram_function", None)
        functions = getattr(layer, f"{leaf}_function")
        setattr(layer, f"{leaf}_function", [WhileComputing(key, patcher.patches, layer), *functions])
    elif not isinstance(kept := patcher.backup[key].weight, QuantizedTensor):
        # The smallest layers lie there all the time; the host has merged the change into this one.
        device = comfy.utils.get_attr(patcher.model, key).device
        whole = kept.to(device, torch.float32, copy=True)
        whole = comfy.lora.calculate_weight(patcher.patches[key], whole, key)
        comfy.utils.set_attr_param(patcher.model, key, whole.to(computes))


def _while_computing(patcher: Any, layer: Any, key: str, leaf: str) -> None:
    """Take a merged change out of the weight and apply it in the dtype that the layer computes in."""
    kept = patcher.backup.pop(key, None)
    if kept is not None:
        device = comfy.utils.get_attr(patcher.model, key).device
        comfy.utils.set_attr_param(patcher.model, key, kept.weight.to(device))
    if not hasattr(layer, "prev_comfy_cast_weights"):
        layer.prev_comfy_cast_weights = layer.comfy_cast_weights
        layer.comfy_cast_weights = True
    functions = getattr(layer, f"{leaf}_function")
    others = [one for one in functions if not isinstance(one, comfy.model_patcher.LowVramPatch)]
    # A new list: the casting classes share one among all their layers.
    setattr(layer, f"{leaf}_function", [WhileComputing(key, patcher.patches, layer), *others])
    # Mark the model as partly loaded: only then does the host remove these functions on unload, and merge for saving.
    patcher.model.model_lowvram = True
    # Else newer hosts save the weight as it is, and a partial unload would add the change a second time.
    layer.comfy_patched_weights = False
    if len(others) == len(functions):
        patcher.model.lowvram_patch_counter += 1
