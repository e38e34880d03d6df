"""Weights stored in 8 bits with a scale beside them, in the two layouts that ComfyUI reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..base.recognise import HELPERS, SCALES
from .errors import ModelFileError
from .header import TensorInfo

_FP8 = ("F8_E4M3", "F8_E5M2")


@dataclass(frozen=True)
class Quantisation:
    """How a file's weights are stored.

    Attributes:
        scales: name of a weight -> name of its scale, both as the file has them.
        kind: "", "fp8" (8 bits as they are) or "scaled fp8".
    """

    scales: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""


def split_header(header: Mapping[str, TensorInfo], path: Path) -> tuple[dict[str, TensorInfo], Quantisation]:
    """(the weights alone, how they are stored).

    Raises:
        ModelFileError: a format that is not plain or scaled fp8 (nvfp4, mxfp8, int8, int4 ...), by its tensor.
    """
    weights: dict[str, TensorInfo] = {}
    scales: dict[str, str] = {}
    for name, info in header.items():
        if name.rpartition(".")[2] == "scaled_fp8":
            continue
        scale = next((end for end in SCALES if name.endswith(end)), None)
        if scale:
            weights_name = name.removesuffix(scale) + ".weight"
            _check_scale(weights_name, name, header, path)
            scales[weights_name] = name
        elif not name.endswith(HELPERS):
            weights[name] = info
    has_fp8 = any(info.dtype in _FP8 for info in weights.values())
    return weights, Quantisation(scales, "scaled fp8" if scales else "fp8" if has_fp8 else "")


def _check_scale(weight: str, scale: str, header: Mapping[str, TensorInfo], path: Path) -> None:
    info = header.get(weight)
    if info is None:
        raise ModelFileError(f"{path}: {scale} is there without {weight}. The file is damaged: get it again.")
    if info.dtype not in _FP8 or _count(header[scale].shape) not in (1, info.shape[0]):
        raise ModelFileError(
            f"{path}: {weight} is stored as {info.dtype} {list(info.shape)} with a scale of "
            f"{list(header[scale].shape)}: a 4-bit, int8 or block-scaled format, which this version cannot read. Get "
            "the bf16, fp16 or fp8 version of this model."
        )


def read_weight(tensors: Any, name: str, quantisation: Quantisation) -> tuple[Tensor, Tensor | None]:
    """A tensor of an open safetensors file, and the scale to multiply it with in fp32: one number, or one for each row.

    Source: ComfyUI's `scaled_fp8_ops` (comfy/ops.py 0.3.64) and its "float8_e4m3fn" layout (comfy/quant_ops.py 0.8).
    """
    scale = quantisation.scales.get(name)
    if scale is None:
        return tensors.get_tensor(name), None
    factor = tensors.get_tensor(scale)
    return tensors.get_tensor(name), factor.squeeze() if factor.numel() == 1 else factor.flatten()


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count
