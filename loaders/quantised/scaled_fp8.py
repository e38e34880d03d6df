"""8-bit floats with one scale for a weight, or one for each of its rows, under the old and the new names.

Source: ComfyUI's `scaled_fp8_ops` (comfy/ops.py 0.3.64) and its "float8_e4m3fn" layout (comfy/quant_ops.py 0.8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ...base.packed import PackedWeight, take_rows
from ...base.recognise import SCALES
from ...base.storage import is_fp8
from ..cast import cast
from ..header import Container
from .layer import StoredLayer


@dataclass(frozen=True)
class ScaledFP8:
    name: str
    layout: str
    # The host has layers for plain fp8 that are as small: multiplied out, a model runs as its bf16 file does.
    stays_packed: bool = False

    def layers(self, file: Container) -> Mapping[str, StoredLayer]:
        layers = {}
        for scale, info in file.header.items():
            end = next((end for end in SCALES if scale.endswith(end)), None)
            weight = scale.removesuffix(end) + ".weight" if end else ""
            stored = file.header.get(weight)
            if stored is not None and is_fp8(stored.dtype) and prod(info.shape) in (1, stored.shape[0]):
                names = {"weight": weight, "weight_scale": scale}
                layers[weight] = StoredLayer(_BY_CODE[stored.dtype], stored.shape, names)
        return layers

    def rows(self, weight: PackedWeight, index: Tensor) -> Mapping[str, Tensor]:
        scale = weight.tensors["weight_scale"]
        return {
            "weight": take_rows(weight.tensors["weight"], index),
            "weight_scale": scale if scale.numel() == 1 else take_rows(scale, index),
        }

    def dequantise(self, weight: PackedWeight, dtype: torch.dtype) -> Tensor:
        """Multiplied in fp32, then rounded once."""
        scale = weight.tensors["weight_scale"]
        return cast(weight.tensors["weight"], dtype, scale.squeeze() if scale.numel() == 1 else scale.flatten())


FORMAT = ScaledFP8("scaled fp8", "float8_e4m3fn")
_BY_CODE = {"F8_E4M3": FORMAT, "F8_E5M2": ScaledFP8("scaled fp8 e5m2", "float8_e5m2")}
