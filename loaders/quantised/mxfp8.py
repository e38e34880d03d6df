"""8-bit floats of which 32 share a scale that is a power of two (OCP's MXFP8).

Source: OCP Microscaling Formats 1.0; comfy-kitchen 0.2.31 (Apache-2.0), backends/eager/quantization.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...base.packed import PackedWeight
from ..cast import widened
from .blocks import block_rows, numbers_shape, rows_of_blocks
from .layer import StoredLayer
from .marks import MarkedFile
from .parts import LayerParts
from .pieces import in_pieces
from .swizzle import swizzled_shape

_BLOCK = 32


class MXFP8:
    name = "mxfp8"
    layout = "mxfp8"
    stays_packed = True

    def layers(self, file: MarkedFile) -> Mapping[str, StoredLayer]:
        return {f"{stem}.weight": self._layer(file, stem) for stem in file.marked_as(self.layout)}

    def rows(self, weight: PackedWeight, index: Tensor) -> Mapping[str, Tensor]:
        return block_rows(weight, index, _BLOCK, _BLOCK)

    def dequantise(self, weight: PackedWeight, dtype: torch.dtype) -> Tensor:
        columns = weight.shape[1]

        def decode(part: Mapping[str, Tensor]) -> Tensor:
            # A byte is the exponent of a float32. The smallest, 2^-127, counts as 0, as in comfy-kitchen.
            scale = (part["scale"].int() << 23).view(torch.float32)
            numbers = widened(part["weight"]).unflatten(1, (-1, _BLOCK)) * scale.unsqueeze(-1)
            return numbers.flatten(1)[:, :columns]

        return in_pieces(rows_of_blocks(weight, _BLOCK), (weight.shape[0], columns), dtype, decode)

    def _layer(self, file: MarkedFile, stem: str) -> StoredLayer:
        parts = LayerParts(file, stem, self.name)
        rows, columns = parts.need("weight", ("F8_E4M3",)).shape
        parts.multiples((rows, columns), _BLOCK)
        parts.need("weight_scale", ("F8_E8M0", "U8"), swizzled_shape(rows, columns // _BLOCK))
        parts.setting("group_size", _BLOCK, (_BLOCK,))
        return parts.layer(self, numbers_shape(parts, (rows, columns), _BLOCK))


FORMAT = MXFP8()
