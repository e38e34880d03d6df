"""NVIDIA's 4-bit floats: 16 numbers share an 8-bit scale, the weight another; with AWQ, columns have factors too.

Source: comfy-kitchen 0.2.31 (Apache-2.0), backends/eager/quantization.py; ComfyUI 0.33.0, comfy/ops.py for
`pre_quant_scale`: the layer's input is multiplied by it, which is the same as multiplying the columns of its weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ...base.packed import PackedWeight
from .blocks import block_rows, numbers_shape, rows_of_blocks
from .layer import StoredLayer
from .marks import MarkedFile
from .nibbles import pairs, spread
from .parts import FLOATS, LayerParts
from .pieces import in_pieces
from .swizzle import swizzled_shape

_BLOCK, _BYTES = 16, 8
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)


@dataclass(frozen=True)
class NVFP4:
    name: str
    layout: str = "nvfp4"
    stays_packed: bool = True

    def layers(self, file: MarkedFile) -> Mapping[str, StoredLayer]:
        return {f"{stem}.weight": _layer(file, stem) for stem in file.marked_as(self.layout)}

    def rows(self, weight: PackedWeight, index: Tensor) -> Mapping[str, Tensor]:
        return block_rows(weight, index, _BYTES, 16)

    def dequantise(self, weight: PackedWeight, dtype: torch.dtype) -> Tensor:
        """The numbers, with the factors of AWQ in them: a change of the weight then adds to it as to any other."""
        columns = weight.shape[1]
        factors = weight.tensors.get("pre_quant_scale")
        tensor_scale = weight.tensors["weight_scale_2"].float().reshape(())
        table = _table(tensor_scale.device)

        def decode(part: Mapping[str, Tensor]) -> Tensor:
            scale = tensor_scale * part["scale"].contiguous().view(torch.float8_e4m3fn).float()
            numbers = spread(part["weight"], table).unflatten(1, (-1, _BLOCK)) * scale.unsqueeze(-1)
            numbers = numbers.flatten(1)[:, :columns]
            return numbers if factors is None else numbers * factors.float()

        return in_pieces(rows_of_blocks(weight, _BYTES), (weight.shape[0], columns), dtype, decode)


FORMAT = NVFP4("nvfp4")
AWQ = NVFP4("nvfp4 awq")


@cache
def _table(device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return pairs(torch.tensor(_E2M1, device=device), high_first=True)


def _layer(file: MarkedFile, stem: str) -> StoredLayer:
    is_awq = f"{stem}.pre_quant_scale" in file.header
    packed_format = AWQ if is_awq else FORMAT
    parts = LayerParts(file, stem, packed_format.name)
    rows, packed_columns = parts.need("weight", ("U8",)).shape
    columns = 2 * packed_columns
    parts.multiples((rows, columns), _BLOCK)
    parts.need("weight_scale", ("F8_E4M3", "U8"), swizzled_shape(rows, columns // _BLOCK))
    parts.need("weight_scale_2", ("F32",), (), (1,))
    shape = numbers_shape(parts, (rows, columns), 16)
    if is_awq:
        parts.need("pre_quant_scale", FLOATS, (shape[1],))
    parts.setting("group_size", _BLOCK, (_BLOCK,))
    return parts.layer(packed_format, shape)
