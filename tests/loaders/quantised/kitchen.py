"""What comfy-kitchen's own eager code makes of a packed weight, in float32."""

from __future__ import annotations

import torch
from comfy_kitchen.tensor import get_layout_class

from opent2v.base.packed import PackedWeight

_LAYOUTS = {
    "float8_e4m3fn": "TensorCoreFP8Layout",
    "float8_e5m2": "TensorCoreFP8Layout",
    "int8_tensorwise": "TensorWiseINT8Layout",
}


def dequantised(weight: PackedWeight, kind: str) -> torch.Tensor:
    layout = weight.format.layout
    params = {"scale": weight.tensors["weight_scale"], "orig_dtype": torch.float32, "orig_shape": weight.shape}
    if layout == "int8_tensorwise":
        params |= dict(weight.parameters)
    cls = get_layout_class(_LAYOUTS[layout])
    return cls.dequantize(weight.tensors["weight"], cls.Params(**params))
