"""8-bit integers with one scale for a weight or for each of its rows, plain or rotated (ConvRot).

Source: comfy-kitchen 0.2.31 (Apache-2.0), tensor/int8.py; ComfyUI 0.33.0, comfy/ops.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ...base.packed import PackedWeight
from .layer import StoredLayer
from .marks import MarkedFile
from .parts import FLOATS, LayerParts
from .pieces import by_row, in_pieces, scaled_rows
from .rotation import GROUPS, unrotated


@dataclass(frozen=True)
class Int8:
    name: str
    layout: str = "int8_tensorwise"
    stays_packed: bool = True

    def layers(self, file: MarkedFile) -> Mapping[str, StoredLayer]:
        return {f"{stem}.weight": _layer(file, stem) for stem in file.marked_as(self.layout)}

    def rows(self, weight: PackedWeight, index: Tensor) -> Mapping[str, Tensor]:
        return scaled_rows(weight, index)

    def dequantise(self, weight: PackedWeight, dtype: torch.dtype) -> Tensor:
        stored = weight.tensors["weight"].flatten(1)
        group = weight.parameters.get("convrot_groupsize", 256) if weight.parameters.get("convrot") else 0

        def decode(part: Mapping[str, Tensor]) -> Tensor:
            numbers = part["weight"].float() * part["scale"]
            return unrotated(numbers, group) if group else numbers

        tensors = {"weight": stored, "scale": by_row(weight.tensors["weight_scale"], len(stored))}
        return in_pieces(tensors, (stored.shape[0], stored.shape[1]), dtype, decode)


FORMAT = Int8("int8")
CONVROT = Int8("int8 convrot")


def _layer(file: MarkedFile, stem: str) -> StoredLayer:
    settings = file.marks[stem].settings
    is_rotated = bool(settings.get("convrot"))
    packed_format = CONVROT if is_rotated else FORMAT
    parts = LayerParts(file, stem, packed_format.name)
    info = file.header.get(f"{stem}.weight")
    shapes = () if info is None or is_rotated or len(info.shape) < 2 else (info.shape,)  # convolutions have more axes
    shape = parts.need("weight", ("I8",), *shapes).shape
    rows = shape[0]
    parts.need("weight_scale", FLOATS, (rows, *[1] * (len(shape) - 1)), (), (1,))
    parts.setting("convrot", False, (False, True))
    group = parts.setting("convrot_groupsize", 256, GROUPS)
    if is_rotated and prod(shape[1:]) % group:
        raise parts.refused("convrot_groupsize", group, f"its {shape[1]} columns are no multiple of it")
    return parts.layer(packed_format, shape)
