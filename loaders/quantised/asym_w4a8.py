"""4-bit codes for 8-bit integers, with a scale for each group of a row and one for the row, rotated (ConvRot).

Source: comfy-kitchen 0.2.31 (Apache-2.0), backends/eager/w4a8_int8.py.
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

# The kernel takes 16 columns at a time.
_GROUP_SIZES = (4, 8, 16, 32, 64, 128, 256)
_PER_ROW = ("weight", "weight_s_rel", "weight_s_channel")


class AsymW4A8:
    name = "w4a8"
    layout = "asym_w4a8_int8"
    stays_packed = True

    def layers(self, file: MarkedFile) -> Mapping[str, StoredLayer]:
        return {f"{stem}.weight": self._layer(file, stem) for stem in file.marked_as(self.layout)}

    def rows(self, weight: PackedWeight, index: Tensor) -> Mapping[str, Tensor]:
        return {**weight.tensors, **{role: take_rows(weight.tensors[role], index) for role in _PER_ROW}}

    def dequantise(self, weight: PackedWeight, dtype: torch.dtype) -> Tensor:
        stored, scale = weight.tensors["weight"], weight.tensors["weight_s_rel"]
        size = weight.parameters.get("group_size", 16)
        group = weight.parameters.get("convrot_groupsize", 256)
        codebook = weight.tensors.get("weight_codebook")
        values = torch.arange(-8, 8, device=stored.device) if codebook is None else codebook
        table = pairs(values.float(), high_first=False)

        def decode(part: Mapping[str, Tensor]) -> Tensor:
            relative = part["relative"]
            relative = (relative.view(torch.float8_e4m3fn) if relative.dtype == torch.uint8 else relative).float()
            numbers = spread(part["weight"], table).unflatten(1, (-1, size)) * relative.unsqueeze(-1)
            numbers = numbers.flatten(1).round().clamp(-127, 127) * part["channel"]
            return unrotated(numbers, group)

        channel = by_row(weight.tensors["weight_s_channel"], len(stored))
        tensors = {"weight": stored, "relative": scale, "channel": channel}
        return in_pieces(tensors, (weight.shape[0], weight.shape[1]), dtype, decode)

    def _layer(self, file: MarkedFile, stem: str) -> StoredLayer:
        parts = LayerParts(file, stem, self.name)
        rows, packed_columns = parts.need("weight", ("I8",)).shape
        columns = 2 * packed_columns
        size = parts.setting("group_size", 16, _GROUP_SIZES)
        group = parts.setting("convrot_groupsize", 256, GROUPS)
        parts.setting("convrot", True, (True,))
        for key, step in (("group_size", size), ("convrot_groupsize", group)):
            if columns % step:
                raise parts.refused(key, step, f"its {columns} columns are no multiple of it")
        parts.need("weight_s_rel", ("F8_E4M3", "U8", "F32"), (rows, columns // size))
        parts.need("weight_s_channel", FLOATS, (rows,))
        if parts.has("weight_codebook"):
            parts.need("weight_codebook", FLOATS, (16,))
        return parts.layer(self, (rows, columns))


FORMAT = AsymW4A8()
