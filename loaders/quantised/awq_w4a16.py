"""4-bit integers with a scale and a zero point for each group of a row.

Source: comfy-kitchen 0.2.31 (Apache-2.0), tensor/awq_w4a16.py. ComfyUI 0.33.0 does not read it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...base.packed import PackedWeight, take_rows
from .layer import StoredLayer
from .marks import MarkedFile
from .nibbles import pairs, spread
from .parts import FLOATS, LayerParts
from .pieces import in_pieces

_GROUP_SIZES = (16, 32, 64, 128, 256)
_PER_GROUP = ("weight_scale", "weight_zeros")  # [groups, rows]


class AWQW4A16:
    name = "awq w4a16"
    layout = ""
    stays_packed = True

    def layers(self, file: MarkedFile) -> Mapping[str, StoredLayer]:
        return {f"{stem}.weight": self._layer(file, stem) for stem in file.marked_as("awq_w4a16")}

    def rows(self, weight: PackedWeight, index: Tensor) -> Mapping[str, Tensor]:
        per_group = {role: weight.tensors[role][:, index] for role in _PER_GROUP}
        return {**weight.tensors, **per_group, "weight": take_rows(weight.tensors["weight"], index)}

    def dequantise(self, weight: PackedWeight, dtype: torch.dtype) -> Tensor:
        stored, size = weight.tensors["weight"], weight.parameters.get("group_size", 64)
        table = pairs(torch.arange(-8, 8, dtype=torch.float32, device=stored.device), high_first=False)

        def decode(part: Mapping[str, Tensor]) -> Tensor:
            numbers = spread(part["weight"], table).unflatten(1, (-1, size))
            return (numbers * part["scale"].float().unsqueeze(-1) + part["zeros"].float().unsqueeze(-1)).flatten(1)

        scale, zeros = (weight.tensors[role].T for role in _PER_GROUP)
        tensors = {"weight": stored, "scale": scale, "zeros": zeros}
        return in_pieces(tensors, (weight.shape[0], weight.shape[1]), dtype, decode)

    def _layer(self, file: MarkedFile, stem: str) -> StoredLayer:
        parts = LayerParts(file, stem, self.name)
        rows, packed_columns = parts.need("weight", ("I8", "U8")).shape
        size = parts.setting("group_size", 64, _GROUP_SIZES)
        if 2 * packed_columns % size:
            raise parts.refused("group_size", size, f"its {2 * packed_columns} columns are no multiple of it")
        for role in _PER_GROUP:
            parts.need(role, FLOATS, (2 * packed_columns // size, rows))
        return parts.layer(self, (rows, 2 * packed_columns))


FORMAT = AWQW4A16()
