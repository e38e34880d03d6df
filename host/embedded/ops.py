"""Casting layers: they compute in their input's dtype, whatever the dtype of their stored weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...base.packed import linear, looked_up
from ..leaves import DEQUANTISED


class CastLinear(nn.Linear):
    """Computes in its input's dtype, whatever the dtype of the stored weight; a packed weight is dequantised here."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, _to(self.bias, input.dtype))


class CastEmbedding(nn.Embedding):
    """Looks up rows of the stored weight; those of a packed weight are dequantised here."""

    def forward(self, input: Tensor) -> Tensor:
        return looked_up(self.weight, input, self.weight.dtype)


class CastConv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight.to(input.dtype), _to(self.bias, input.dtype))


class CastConv3d(nn.Conv3d):
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight.to(input.dtype), _to(self.bias, input.dtype))


class CastLayerNorm(nn.LayerNorm):
    def forward(self, input: Tensor) -> Tensor:
        weight, bias = _to(self.weight, input.dtype), _to(self.bias, input.dtype)
        return functional.layer_norm(input, self.normalized_shape, weight, bias, self.eps)


class CastGroupNorm(nn.GroupNorm):
    def forward(self, input: Tensor) -> Tensor:
        weight, bias = _to(self.weight, input.dtype), _to(self.bias, input.dtype)
        return functional.group_norm(input, self.num_groups, weight, bias, self.eps)


class CastRMSNorm(nn.RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.normalized_shape, _to(self.weight, x.dtype), self.eps)


def _to(weight: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if weight is None else weight.to(dtype)


def packed_arithmetic(layout: str, part: str) -> str:
    return DEQUANTISED


LEAVES: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: CastLinear,
    nn.Embedding: CastEmbedding,
    nn.Conv2d: CastConv2d,
    nn.Conv3d: CastConv3d,
    nn.LayerNorm: CastLayerNorm,
    nn.GroupNorm: CastGroupNorm,
    nn.RMSNorm: CastRMSNorm,
}
