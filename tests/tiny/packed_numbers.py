"""A slow plain decoder of every packed format: what the stored tensors of a layer stand for.

It is written from the formats' descriptions, number by number, and shares nothing with the pack's decoders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor

Parts = dict[str, Tensor]
# What 4 bits mean as a float: sign, two bits of exponent, one of fraction.
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def group_of(columns: int) -> int:
    """The largest group of columns that a rotation can have here."""
    return next(size for size in (256, 64, 16) if columns % size == 0)


def numbers(parts: Mapping[str, Tensor], kind: str) -> Tensor:
    """The numbers [rows, columns] that the stored tensors stand for, in float32."""
    return _DECODERS[kind](parts)


@cache
def rotation(size: int) -> Tensor:
    """ConvRot's matrix: an entry changes its sign for each digit (to base 4) of row and column that add up to 3."""
    digits = [torch.arange(size) // 4**place % 4 for place in range(size.bit_length() // 2)]
    signs = [1 - 2 * (digit[:, None] + digit == 3).float() for digit in digits]
    return torch.stack(signs).prod(0) / size**0.5


def rotated(weight: Tensor) -> Tensor:
    group = group_of(weight.shape[1])
    return (weight.unflatten(1, (-1, group)).double() @ rotation(group).double()).flatten(1).float()


def places(rows: int, blocks: int) -> Tensor:
    """Where the scale of row and block stands in the stored scales: [rows, blocks], counted in bytes."""
    row, block = torch.arange(rows)[:, None], torch.arange(blocks)[None]
    tile = row // 128 * -(-blocks // 4) + block // 4
    return tile * 512 + row % 32 * 16 + row % 128 // 32 * 4 + block % 4


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


def _codes(parts: Mapping[str, Tensor], high_first: bool = False) -> Tensor:
    """The 4-bit codes [rows, columns] of a matrix."""
    stored = parts["weight"].view(torch.uint8).int()
    codes = torch.empty(len(stored), 2 * stored.shape[1], dtype=torch.int32)
    codes[:, 1 if high_first else 0 :: 2], codes[:, 0 if high_first else 1 :: 2] = stored % 16, stored // 16
    return codes


def _per_column(scale: Tensor, columns: int) -> Tensor:
    """Scales of blocks [rows, blocks], one for each column."""
    return scale.repeat_interleave(columns // scale.shape[1], 1)


def _nvfp4(parts: Mapping[str, Tensor]) -> Tensor:
    values = E2M1[_codes(parts, high_first=True)]
    rows, columns = values.shape
    scale = fp8_numbers(parts["weight_scale"].view(-1)[places(rows, columns // 16)])
    numbers = values * _per_column(scale, columns) * parts["weight_scale_2"]
    return numbers * parts.get("pre_quant_scale", torch.ones(()))


def _mxfp8(parts: Mapping[str, Tensor]) -> Tensor:
    rows, columns = parts["weight"].shape
    exponent = parts["weight_scale"].view(-1)[places(rows, columns // 32)].double() - 127
    return (fp8_numbers(parts["weight"]) * _per_column(2**exponent, columns)).float()


def _w4a4(parts: Mapping[str, Tensor]) -> Tensor:
    codes = _codes(parts)
    return rotated((codes - 16 * (codes > 7)) * parts["weight_scale"][:, None])


def _w4a8(parts: Mapping[str, Tensor]) -> Tensor:
    codes = _codes(parts)
    values = parts["weight_codebook"][codes] if "weight_codebook" in parts else codes - 8.0
    eight_bits = (values * _per_column(fp8_numbers(parts["weight_s_rel"]), codes.shape[1])).round().clamp(-127, 127)
    return rotated(eight_bits * parts["weight_s_channel"][:, None])


def _awq_w4a16(parts: Mapping[str, Tensor]) -> Tensor:
    codes = _codes(parts)
    scale, zeros = (_per_column(parts[role].T, codes.shape[1]) for role in ("weight_scale", "weight_zeros"))
    return (codes - 8) * scale + zeros


_DECODERS: dict[str, Callable[[Mapping[str, Tensor]], Tensor]] = {
    "fp8": _fp8,
    "fp8_e5m2": _fp8,
    "fp8_rows": _fp8,
    "int8": _int8,
    "int8_tensor": _int8,
    "int8_convrot": lambda parts: rotated(_int8(parts)),
    "nvfp4": _nvfp4,
    "nvfp4_awq": _nvfp4,
    "mxfp8": _mxfp8,
    "convrot_w4a4": _w4a4,
    "asym_w4a8": _w4a8,
    "awq_w4a16": _awq_w4a16,
}
