"""What comfy-kitchen's own eager code makes of a packed weight."""

from __future__ import annotations

import torch
from comfy_kitchen.tensor import get_layout_class

from opent2v.base.packed import PackedWeight

_LAYOUTS = {
    "float8_e4m3fn": "TensorCoreFP8Layout",
    "float8_e5m2": "TensorCoreFP8Layout",
    "int8_tensorwise": "TensorWiseINT8Layout",
    "nvfp4": "TensorCoreNVFP4Layout",
    "mxfp8": "TensorCoreMXFP8Layout",
    "convrot_w4a4": "TensorCoreConvRotW4A4Layout",
    "asym_w4a8_int8": "AsymW4A8Int8Layout",
    "": "TensorCoreAWQW4A16Layout",
}


def dequantised(weight: PackedWeight, kind: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    stored, parameters = weight.tensors, dict(weight.parameters)
    scale = stored.get("weight_scale")
    if kind == "mxfp8":
        scale = stored["weight_scale"].view(torch.float8_e8m0fnu)
    params = {
        "nvfp4": {"scale": stored.get("weight_scale_2"), "block_scale": scale},
        "asym_w4a8_int8": {
            "scale": stored.get("weight_s_rel"), "s_channel": stored.get("weight_s_channel"),
            "codebook": stored.get("weight_codebook"), **parameters,
        },
        "": {"zeros": stored.get("weight_zeros"), **parameters},
    }.get(weight.format.layout, parameters)  # fmt: skip
    cls = get_layout_class(_LAYOUTS[weight.format.layout])
    params = {"scale": scale, "orig_dtype": dtype, "orig_shape": weight.shape} | params
    numbers = cls.dequantize(stored["weight"], cls.Params(**params))
    return numbers * stored["pre_quant_scale"] if "pre_quant_scale" in stored else numbers
