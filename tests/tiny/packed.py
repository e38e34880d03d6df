"""Weights packed in every format as files have them, by packers and a slow plain decoder of the tests' own.

The decoder is written from the formats' descriptions, number by number, and shares nothing with the pack's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

Parts = dict[str, Tensor]
# kind -> (ComfyUI's name of the format, name on the nodes, columns must be a multiple of this).
KINDS: dict[str, tuple[str, str, int]] = {
    "fp8": ("float8_e4m3fn", "scaled fp8", 16),
    "fp8_e5m2": ("float8_e5m2", "scaled fp8 e5m2", 16),
    "fp8_rows": ("float8_e4m3fn", "scaled fp8", 16),
    "int8": ("int8_tensorwise", "int8", 16),
    "int8_tensor": ("int8_tensorwise", "int8", 16),
    "int8_convrot": ("int8_tensorwise", "int8 convrot", 16),
}
CODEBOOK = torch.tensor([-120, -90, -68, -52, -38, -26, -15, -5, 4, 14, 25, 37, 51, 67, 89, 119], dtype=torch.float32)
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def group_of(columns: int) -> int:
    """The largest group of columns that a rotation can have here."""
    return next(size for size in (256, 64, 16) if columns % size == 0)


def settings_of(kind: str, columns: int) -> dict[str, Any]:
    """The entries of a layer's mark beside its format."""
    rotated = {"convrot_groupsize": group_of(columns)}
    return {
        "int8_convrot": {"convrot": True, **rotated},
        "convrot_w4a4": rotated,
        "asym_w4a8_int8": {"group_size": 16, **rotated},
        "awq_w4a16": {"group_size": 16},
    }.get(kind, {})


def pack(weight: Tensor, kind: str) -> Parts:
    """A matrix [rows, columns] as a file stores it, by the endings of its tensors' names."""
    return _PACKERS[kind](weight.float())


def numbers(parts: Mapping[str, Tensor], kind: str) -> Tensor:
    """The numbers [rows, columns] that the stored tensors stand for, in float32."""
    return _DECODERS[kind](parts)


def packed(
    state: Mapping[str, Tensor], kind: str | Callable[[str], str], prefix: str = "", marks: str = "tensors"
) -> tuple[Parts, dict[str, str], Parts]:
    """(tensors, metadata) of a file, and the numbers that they stand for, both by the file's names.

    Args:
        kind: of all matrices that are wide enough, or by their names; "" leaves one plain.
        marks: "tensors", "metadata", or "old" for the names of ComfyUI's first fp8 files.
    """
    stored: Parts = {}
    exact: Parts = {}
    layers: dict[str, Any] = {}
    for name, tensor in state.items():
        plain = tensor.detach().clone().contiguous()
        of_kind = kind if isinstance(kind, str) else kind(name)
        step = KINDS[of_kind][2] if of_kind else 0
        stem = prefix + name.removesuffix(".weight")
        if not step or not name.endswith(".weight") or tensor.ndim != 2 or any(size % step for size in tensor.shape):
            stored[prefix + name] = exact[prefix + name] = plain
            continue
        parts = pack(plain, of_kind)
        exact[prefix + name] = numbers(parts, of_kind).to(tensor.dtype)
        layers[stem] = {"format": KINDS[of_kind][0], **settings_of(of_kind, tensor.shape[1])}
        for role, part in parts.items():
            stored[f"{stem}.{_OLD.get(role, role) if marks == 'old' else role}"] = part
        if marks == "old":
            stored[f"{stem}.scale_input"] = torch.ones(())
    if marks == "tensors":
        stored |= {f"{stem}.comfy_quant": mark(content) for stem, content in layers.items()}
    if marks == "old":
        stored[f"{prefix}scaled_fp8"] = torch.empty(0, dtype=torch.float8_e4m3fn)
    metadata = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}
    return stored, metadata if marks == "metadata" else {}, exact


def write(
    path: Path,
    state: Mapping[str, Tensor],
    kind: str | Callable[[str], str],
    prefix: str = "",
    marks: str = "tensors",
    beside: Mapping[str, Tensor] | None = None,
) -> Parts:
    """Save a model in a format, see `packed`; the numbers that the file stands for.

    Args:
        beside: further tensors of the file, under their whole names.
    """
    stored, metadata, exact = packed(state, kind, prefix, marks)
    save_file({**stored, **(beside or {})}, path, metadata=metadata or None)
    return exact


def mark(content: Any) -> Tensor:
    """A `comfy_quant` tensor."""
    return torch.tensor(list(json.dumps(content).encode()), dtype=torch.uint8)


_OLD = {"weight_scale": "scale_weight", "input_scale": "scale_input"}


@cache
def rotation(size: int) -> Tensor:
    """ConvRot's matrix: an entry changes its sign for each digit (to base 4) of row and column that add up to 3."""
    digits = [torch.arange(size) // 4**place % 4 for place in range(size.bit_length() // 2)]
    signs = [1 - 2 * (digit[:, None] + digit == 3).float() for digit in digits]
    return torch.stack(signs).prod(0) / size**0.5


def rotated(weight: Tensor) -> Tensor:
    group = group_of(weight.shape[1])
    return (weight.unflatten(1, (-1, group)).double() @ rotation(group).double()).flatten(1).float()


def largest(weight: Tensor, axis: int | None = None) -> Tensor:
    return weight.abs().amax() if axis is None else weight.abs().amax(axis, keepdim=True)


def _pack_fp8(weight: Tensor, dtype: torch.dtype = torch.float8_e4m3fn, axis: int | None = None) -> Parts:
    scale = largest(weight, axis) / torch.finfo(dtype).max
    return {"weight": (weight / scale).to(dtype), "weight_scale": scale}


def _pack_int8(weight: Tensor, axis: int | None = 1) -> Parts:
    scale = largest(weight, axis) / 127
    return {"weight": (weight / scale).round().clamp(-127, 127).to(torch.int8), "weight_scale": scale}


_PACKERS: dict[str, Callable[[Tensor], Parts]] = {
    "fp8": _pack_fp8,
    "fp8_e5m2": lambda weight: _pack_fp8(weight, torch.float8_e5m2),
    "fp8_rows": lambda weight: _pack_fp8(weight, axis=1),
    "int8": _pack_int8,
    "int8_tensor": lambda weight: _pack_int8(weight, None),
    "int8_convrot": lambda weight: _pack_int8(rotated(weight)),
}


@cache
def fp8_table(exponent_bits: int) -> Tensor:
    """What each byte means as an 8-bit float with so many bits of exponent."""
    fraction_bits = 7 - exponent_bits
    bias = 2 ** (exponent_bits - 1) - 1
    values = []
    for byte in range(256):
        exponent, fraction = byte >> fraction_bits & 2**exponent_bits - 1, byte & 2**fraction_bits - 1
        size = fraction / 2**fraction_bits + (1 if exponent else 0)
        values.append((-1 if byte > 127 else 1) * size * 2.0 ** (max(exponent, 1) - bias))
    return torch.tensor(values, dtype=torch.float32)


def fp8_numbers(tensor: Tensor) -> Tensor:
    table = fp8_table(5 if tensor.dtype == torch.float8_e5m2 else 4)
    return table[tensor.view(torch.uint8).int()]


def _fp8(parts: Mapping[str, Tensor]) -> Tensor:
    return fp8_numbers(parts["weight"]) * parts["weight_scale"]


def _int8(parts: Mapping[str, Tensor]) -> Tensor:
    return parts["weight"].float() * parts["weight_scale"]


_DECODERS: dict[str, Callable[[Mapping[str, Tensor]], Tensor]] = {
    "fp8": _fp8,
    "fp8_e5m2": _fp8,
    "fp8_rows": _fp8,
    "int8": _int8,
    "int8_tensor": _int8,
    "int8_convrot": lambda parts: rotated(_int8(parts)),
}


def kinds(*, without: Iterable[str] = ()) -> list[str]:
    return [kind for kind in KINDS if kind not in without]
