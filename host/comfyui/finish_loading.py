"""Finish the host's loading: patch the weights that it skips, and keep it from rounding changes to fp8."""

from __future__ import annotations

from typing import Any

import comfy.lora
import comfy.model_patcher
import comfy.utils
import torch
from comfy.patcher_extension import CallbacksMP
from comfy.quant_ops import QuantizedTensor
from torch import Tensor, nn

from ...base.packed import PackedTensor
from ...base.storage import FP8
from .quantised import HoldsPacked, input_factors
from .saving import save_packed_layers

KEY = "opent2v_lora"


def finish_each_load(patcher: Any) -> None:
    """Finish the host's loading each time a MODEL or CLIP is loaded."""
    patcher.remove_callbacks_with_key(CallbacksMP.ON_LOAD, KEY)
    patcher.add_callback_with_key(CallbacksMP.ON_LOAD, KEY, _finish_load)


def _finish_load(
    patcher: Any, device_to: Any, lowvram_memory: Any = 0, force_patch_weights: bool = False, *_: Any
) -> None:
    """Patch the weights that the host skips, and keep it from rounding a change into few bits.

    The host skips parameters outside layers and, in a partial load, layers without a casting class. It merges a change
    into fp8 weights that fit into memory, or into scaled ones, and rounds the sum; here the change is applied while the
    layer computes. Dynamic loading merges as soon as a weight has its slot on the device.
    """
    save_packed_layers(patcher, WhileComputing)
    has_fp8 = any(weight.dtype in FP8 for weight in patcher.model.parameters())
    computes = getattr(patcher.model, "manual_cast_dtype", None) or torch.bfloat16
    # Dynamic loading of newer hosts restores all weights before each load.
    is_dynamic = getattr(patcher, "is_dynamic", bool)()
    if is_dynamic:
        _bring_small_packed(patcher, device_to)
    for key in list(patcher.patches):
        path, _, leaf = key.rpartition(".")
        layer, weight = patcher.model.get_submodule(path), comfy.utils.get_attr(patcher.model, key)
        is_packed = isinstance(weight, QuantizedTensor | PackedTensor)
        is_small = is_packed or (has_fp8 and weight.dtype.itemsize < computes.itemsize)
        if leaf not in ("weight", "bias") or not hasattr(layer, "comfy_cast_weights"):
            if is_dynamic or key not in patcher.backup:
                patcher.patch_weight_to_device(key, device_to)
        elif is_dynamic:
            # A layer without a slot on the device holds the change in its weight already; the mark keeps saving from
            # adding it again.
            layer.comfy_patched_weights = not hasattr(layer, "_v")
            if is_small:
                _beside_places(patcher, layer, key, leaf, computes)
        elif is_small and (not force_patch_weights or isinstance(layer, HoldsPacked)):
            _while_computing(patcher, layer, key, leaf)


class WhileComputing(comfy.model_patcher.LowVramPatch):
    """The host's function for weights that it patches at each call, without rounding the result to the stored dtype."""

    def __init__(self, key: str, patches: Any, layer: Any):
        super().__init__(key, patches)
        leaf = key.rpartition(".")[2]
        self.convert = getattr(layer, f"convert_{leaf}", None)
        self.factors = input_factors(layer) if leaf == "weight" else None

    def __call__(self, weight: Tensor) -> Tensor:
        whole, scale = weight.to(torch.float32, copy=True), None
        if self.convert is not None:  # scaled fp8: the layer multiplies by its scale after this function
            scale = self.convert(torch.ones((), device=weight.device))
        if self.factors is not None:  # AWQ: the layer multiplies its input by these
            factors = self.factors.to(whole)
            scale = factors if scale is None else scale * factors
        if scale is not None:
            whole *= scale
        whole = comfy.lora.calculate_weight(self.patches[self.key], whole, self.key)
        return (whole if scale is None else whole / scale).to(weight.dtype)


def _beside_places(patcher: Any, layer: Any, key: str, leaf: str, computes: torch.dtype) -> None:
    """With dynamic loading: apply a change while the layer computes, for a weight that has a slot on the device."""
    if hasattr(layer, "_v"):
        # The host would write the changed and rounded weight into its slot on the device, and compute with it from then
        # on.
        setattr(layer, f"{leaf}_lowvram_function", None)
        functions = getattr(layer, f"{leaf}_function")
        setattr(layer, f"{leaf}_function", [WhileComputing(key, patcher.patches, layer), *functions])
    elif isinstance(layer, HoldsPacked):
        layer.comfy_patched_weights = False
        setattr(layer, f"{leaf}_function", [WhileComputing(key, patcher.patches, layer)])
    elif not isinstance(kept := patcher.backup[key].weight, QuantizedTensor):
        # The smallest layers stay on the device, and the host has merged the change into this one.
        device = comfy.utils.get_attr(patcher.model, key).device
        whole = kept.to(device, torch.float32, copy=True)
        whole = comfy.lora.calculate_weight(patcher.patches[key], whole, key)
        comfy.utils.set_attr_param(patcher.model, key, whole.to(computes))


def _bring_small_packed(patcher: Any, device: Any) -> None:
    """With dynamic loading: move packed layers too small for a slot to the device, which `set_weight` does not do.

    They stay there, since the host's own way back detaches weights outside of inference mode.
    """
    for name, layer in patcher.model.named_modules():
        if isinstance(layer, HoldsPacked) and isinstance(layer.weight, QuantizedTensor) and not hasattr(layer, "_v"):
            with torch.inference_mode():
                layer.weight = nn.Parameter(layer.weight.to(device), requires_grad=False)
            layer.weight_function = []
            patcher.backup.pop(f"{name}.weight", None)


def _while_computing(patcher: Any, layer: Any, key: str, leaf: str) -> None:
    """Take a merged change out of the weight and apply it in the dtype that the layer computes in."""
    kept = patcher.backup.pop(key, None)
    if kept is not None and not isinstance(layer, HoldsPacked):
        device = comfy.utils.get_attr(patcher.model, key).device
        comfy.utils.set_attr_param(patcher.model, key, kept.weight.to(device))
    if not hasattr(layer, "prev_comfy_cast_weights"):
        layer.prev_comfy_cast_weights = layer.comfy_cast_weights
        layer.comfy_cast_weights = True
    functions = getattr(layer, f"{leaf}_function")
    others = [function for function in functions if not isinstance(function, comfy.model_patcher.LowVramPatch)]
    # A new list, because all layers of a casting class share one list.
    setattr(layer, f"{leaf}_function", [WhileComputing(key, patcher.patches, layer), *others])
    # Mark the model as partially loaded: only then does the host remove these functions on unload and merge them when
    # saving.
    patcher.model.model_lowvram = True
    # Otherwise newer hosts save the weight without the change, and a partial unload would add the change a second time.
    layer.comfy_patched_weights = False
    if len(others) == len(functions):
        patcher.model.lowvram_patch_counter += 1
