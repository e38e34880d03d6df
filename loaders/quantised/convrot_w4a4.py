"""4-bit integers with one scale for each row, rotated (ConvRot).

Source: comfy-kitchen 0.2.31 (Apache-2.0), backends/eager/convrot_w4a4.py.
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
from .pieces import by_row, in_pieces
from .rotation import GROUPS, unrotated

# The kernel's own group; scales are for whole rows.
_KERNEL_GROUP = 64


class ConvRotW4A4:
    name = "w4a4 convrot"
    layout = "convrot_w4a4"
    stays_packed = True

    def layers(self, file: MarkedFile) -> Mapping[str, StoredLayer]:
        return {f"{stem}.weight": self._layer(file, stem) for stem in file.marked_as(self.layout)}

    def rows(self, weight: PackedWeight, index: Tensor) -> Mapping[str, Tensor]:
        per_row = {role: take_rows(weight.tensors[role], index) for role in ("weight", "weight_scale")}
        return {**weight.tensors, **per_row}

    def dequantise(self, weight: PackedWeight, dtype: torch.dtype) -> Tensor:
        stored, group = weight.tensors["weight"], weight.parameters.get("convrot_groupsize", 256)
        signed = torch.tensor([*range(8), *range(-8, 0)], dtype=torch.float32, device=stored.device)
        table = pairs(signed, high_first=False)

        def decode(part: Mapping[str, Tensor]) -> Tensor:
            return unrotated(spread(part["weight"], table) * part["scale"], group)

        tensors = {"weight": stored, "scale": by_row(weight.tensors["weight_scale"], len(stored))}
        return in_pieces(tensors, (weight.shape[0], weight.shape[1]), dtype, decode)

    def _layer(self, file: MarkedFile, stem: str) -> StoredLayer:
        parts = LayerParts(file, stem, self.name)
        rows, packed_columns = parts.need("weight", ("I8",)).shape
        columns = 2 * packed_columns
        parts.need("weight_scale", FLOATS, (rows,), (rows, 1))
        group = parts.setting("convrot_groupsize", 256, GROUPS)
        parts.setting("quant_group_size", _KERNEL_GROUP, (_KERNEL_GROUP,))
        parts.setting("linear_dtype", "int4", ("int4", "int8"))
        parts.setting("convrot", True, (True,))
        for key, size in (("convrot_groupsize", group), ("quant_group_size", _KERNEL_GROUP)):
            if columns % size:
                raise parts.refused(key, size, f"its {columns} columns are no multiple of it")
        return parts.layer(self, (rows, columns))


FORMAT = ConvRotW4A4()
