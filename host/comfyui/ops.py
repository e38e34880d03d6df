"""Leaf layers of diffusers and transformers modules as the host's casting layers."""

from __future__ import annotations

from typing import Any

import comfy.ops
import torch
from comfy.patcher_extension import CallbacksMP
from torch import Tensor, nn
from torch.nn import functional

from ..leaves import dtype_keeping_norms, switch_leaves
from .quantised import hold_packed

_NAMES = ("Linear", "Conv1d", "Conv2d", "Conv3d", "LayerNorm", "GroupNorm", "Embedding")


def switch_to_casting(
    module: nn.Module, computes: torch.dtype | None = None, is_text_encoder: bool = False
) -> nn.Module:
    """Give a built module the host's partial loading, weight patches and storage dtypes.

    `computes` and `is_text_encoder` are of layers with packed weights, see `hold_packed`.
    """
    table: dict[type[nn.Module], type[nn.Module]] = {
        getattr(nn, name): getattr(comfy.ops.manual_cast, name) for name in _NAMES
    }
    # nn.RMSNorm exists since torch 2.4, and since then the host's RMSNorm is a subclass of it.
    if hasattr(nn, "RMSNorm") and issubclass(comfy.ops.manual_cast.RMSNorm, nn.RMSNorm):
        table[nn.RMSNorm] = comfy.ops.manual_cast.RMSNorm
    from diffusers.models.normalization import FP32LayerNorm

    table[FP32LayerNorm] = _fp32_layer_norm(FP32LayerNorm)
    switch_leaves(module, table | dtype_keeping_norms())
    return hold_packed(module, computes, is_text_encoder)


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
