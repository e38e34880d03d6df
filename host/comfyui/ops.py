"""Leaf layers of diffusers and transformers modules as the host's casting layers."""

from __future__ import annotations

from typing import Any

import comfy.ops
import torch
from comfy.patcher_extension import CallbacksMP
from torch import Tensor, nn
from torch.nn import functional

from ...base.packed import PackedTensor, looked_up, unpacked
from ..leaves import dtype_keeping_norms, switch_leaves

_NAMES = ("Linear", "Conv1d", "Conv2d", "Conv3d", "LayerNorm", "GroupNorm", "Embedding")


def switch_to_casting(module: nn.Module) -> nn.Module:
    """Give a built module the host's partial loading, weight patches and storage dtypes."""
    table: dict[type[nn.Module], type[nn.Module]] = {
        getattr(nn, name): getattr(comfy.ops.manual_cast, name) for name in _NAMES
    }
    # nn.RMSNorm exists since torch 2.4, and since then the host's RMSNorm is a subclass of it.
    if hasattr(nn, "RMSNorm") and issubclass(comfy.ops.manual_cast.RMSNorm, nn.RMSNorm):
        table[nn.RMSNorm] = comfy.ops.manual_cast.RMSNorm
    from diffusers.models.normalization import FP32LayerNorm

    table[FP32LayerNorm] = _fp32_layer_norm(FP32LayerNorm)
    switch_leaves(module, table | dtype_keeping_norms())
    for leaf in module.modules():
        if isinstance(leaf, nn.Linear | nn.Embedding) and isinstance(leaf.weight, PackedTensor):
            leaf.__class__ = PackedLinear if isinstance(leaf, nn.Linear) else PackedEmbedding
    return module


class PackedLinear(comfy.ops.manual_cast.Linear):
    """The host's linear layer for a packed weight, which is dequantised while the layer computes."""

    def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
        # Dequantise before the weight functions, because the host's LoRA patches add in place, which a packed weight
        # does not support.
        weight = unpacked(self.weight.to(input.device), input.dtype)
        for function in self.weight_function:
            weight = function(weight)
        bias = None if self.bias is None else self.bias.to(input.device, input.dtype)
        for function in self.bias_function if bias is not None else ():
            bias = function(bias)
        return functional.linear(input, weight, bias)

    def convert_weight(self, weight: Tensor, inplace: bool = False, **_: Any) -> Tensor:
        """The dequantised weight, into which the host merges a change."""
        return unpacked(weight, weight.dtype)

    def set_weight(self, weight: Tensor, return_weight: bool = False, **_: Any) -> Tensor | None:
        """Leave the packed weight as it is, since a merge would round; `finish_loading` adds it at each call."""
        return weight if return_weight else None


class PackedEmbedding(comfy.ops.manual_cast.Embedding):
    """The host's embedding for a packed weight, of which only the rows that are looked up are dequantised."""

    def forward_comfy_cast_weights(self, input: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        dtype = self.weight.dtype if out_dtype is None else out_dtype
        if not self.weight_function:
            return looked_up(self.weight.to(input.device), input, dtype)
        weight = unpacked(self.weight.to(input.device), dtype)
        for function in self.weight_function:
            weight = function(weight)
        return functional.embedding(input, weight)

    convert_weight = PackedLinear.convert_weight
    set_weight = PackedLinear.set_weight


def _fp32_layer_norm(plain: type[nn.LayerNorm]) -> type[nn.LayerNorm]:
    class CastFP32LayerNorm(plain, comfy.ops.CastWeightBiasOp):
        """diffusers' layer norm in float32, with weights wherever the host keeps them."""

        comfy_cast_weights = True

        def forward(self, input: Tensor) -> Tensor:
            if self.weight is None:
                return functional.layer_norm(input.float(), self.normalized_shape, None, None, self.eps).to(input.dtype)
            weight, bias, held = comfy.ops.cast_bias_weight(
                self, device=input.device, dtype=torch.float32, bias_dtype=torch.float32, offloadable=True
            )
            normed = functional.layer_norm(input.float(), self.normalized_shape, weight, bias, self.eps)
            # Dynamic loading keeps the slot on the device until this call releases it.
            comfy.ops.uncast_bias_weight(self, weight, bias, held)
            return normed.to(input.dtype)

    return CastFP32LayerNorm


def move_orphans_on_load(patcher: Any) -> None:
    """Have the host move the tensors that a partial load skips: parameters and buffers outside casting layers.

    Modulation tables, position tables and norms without a casting class are small (a few MB in the largest
    model) but would stay on the CPU while the run is on the GPU.
    """

    def move(patcher: Any, device_to: Any, *args: Any, **kwargs: Any) -> None:
        if device_to is None:
            return
        for module in patcher.model.modules():
            if hasattr(module, "comfy_cast_weights"):
                continue
            for table in (module._parameters, module._buffers):
                for name, tensor in table.items():
                    if tensor is not None and tensor.device != torch.device(device_to):
                        moved = tensor.to(device_to)
                        is_parameter = isinstance(tensor, nn.Parameter)
                        table[name] = nn.Parameter(moved, requires_grad=False) if is_parameter else moved

    patcher.add_callback_with_key(CallbacksMP.ON_LOAD, "opent2v_orphans", move)
