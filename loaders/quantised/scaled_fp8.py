"""8-bit floats with one scale for a weight, or one for each of its rows, under the old and the new names.

Source: ComfyUI's `scaled_fp8_ops` (comfy/ops.py 0.3.64), its "float8_e4m3fn" layout (comfy/quant_ops.py 0.8) and
`convert_old_quants` (comfy/utils.py 0.33.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...base.packed import PackedWeight
from ...base.recognise import SCALES
from ...base.storage import is_fp8
from ..cast import cast
from .layer import StoredLayer
from .marks import MarkedFile
from .parts import FLOATS, LayerParts
from .pieces import scaled_rows

# Older files have it once; with two numbers in it, their layers multiply in full precision.
OLD_MARK = "scaled_fp8"


@dataclass(frozen=True)
class ScaledFP8:
    name: str
    layout: str
    stays_packed: bool = True

    def layers(self, file: MarkedFile) -> Mapping[str, StoredLayer]:
        stems = {stem: _CODES[mark.format] for stem, mark in file.marks.items() if mark.format in _CODES}
        for name in file.header:
            end = next((end for end in SCALES if name.endswith(end)), None)
            stem = name.removesuffix(end) if end else ""
            weight = file.header.get(f"{stem}.weight")
            if weight is not None and is_fp8(weight.dtype) and stem not in file.marks:
                stems[stem] = weight.dtype
        multiplied_whole = [
            name.removesuffix(OLD_MARK)
            for name, info in file.header.items()
            if f".{name}".endswith(f".{OLD_MARK}") and info.shape == (2,)
        ]
        return {
            f"{stem}.weight": _layer(file, stem, code, stem.startswith(tuple(multiplied_whole)))
            for stem, code in stems.items()
        }

    def rows(self, weight: PackedWeight, index: Tensor) -> Mapping[str, Tensor]:
        return scaled_rows(weight, index)

    def dequantise(self, weight: PackedWeight, dtype: torch.dtype) -> Tensor:
        """Multiplied in fp32, then rounded once."""
        scale = weight.tensors["weight_scale"]
        return cast(weight.tensors["weight"], dtype, scale.squeeze() if scale.numel() == 1 else scale.flatten())


FORMAT = ScaledFP8("scaled fp8", "float8_e4m3fn")
_BY_CODE = {"F8_E4M3": FORMAT, "F8_E5M2": ScaledFP8("scaled fp8 e5m2", "float8_e5m2")}
# Names of the formats in marks -> the dtype of their weights. The second is a converter's name for scales of rows.
_CODES = {"float8_e4m3fn": "F8_E4M3", "float8_e4m3fn_rowwise": "F8_E4M3", "float8_e5m2": "F8_E5M2"}


def _layer(file: MarkedFile, stem: str, code: str, multiplies_whole: bool) -> StoredLayer:
    parts = LayerParts(file, stem, _BY_CODE[code].name)
    info = file.header.get(f"{stem}.weight")
    shape = parts.need("weight", (code,), *(() if info is None else (info.shape,))).shape
    parts.need("weight_scale", FLOATS, (), (1,), shape[:1], (*shape[:1], *[1] * (len(shape) - 1)))
    layer = parts.layer(_BY_CODE[code], shape)
    return replace(layer, parameters={"full_precision_matrix_mult": True}) if multiplies_whole else layer
