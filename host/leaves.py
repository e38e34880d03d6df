"""Switch a built module's leaf layers to classes that cast their weights while they compute."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

# How a layer of ours computes with a packed weight, in the user's words.
DEQUANTISED = "each layer is multiplied out while it computes"


def switch_leaves(module: nn.Module, table: Mapping[type[nn.Module], type[nn.Module]]) -> nn.Module:
    """Change the class of every leaf whose exact type is in the table; weights, names and hooks stay.

    Only exact types: a subclass with a forward of its own would lose it.
    """
    for leaf in module.modules():
        switched = table.get(type(leaf))
        if switched is not None:
            leaf.__class__ = switched
            # Casting layers read .bias even where the plain class (an embedding, an RMS norm) has none.
            if not hasattr(leaf, "bias"):
                leaf.bias = None  # pyright: ignore[reportArgumentType]
    return module


def dtype_keeping_norms() -> dict[type[nn.Module], type[nn.Module]]:
    """diffusers' own RMS norm -> one that returns the dtype it was given.

    With weights in half precision theirs returns the weights' dtype; attention then refuses queries and keys that
    differ from the values (HunyuanVideo's bf16 files, computed in fp32 or fp16).
    """
    from diffusers.models.normalization import RMSNorm

    class DtypeKeepingRMSNorm(RMSNorm):
        def forward(self, hidden_states: Tensor) -> Tensor:
            if self.weight is None or self.weight.dtype == hidden_states.dtype:
                return super().forward(hidden_states)
            wide = hidden_states.float()
            normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight.float()
            return (normed if self.bias is None else normed + self.bias.float()).to(hidden_states.dtype)

    return {RMSNorm: DtypeKeepingRMSNorm}
