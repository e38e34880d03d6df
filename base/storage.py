"""Storage formats of numbers: one table with the names that files, nodes and torch use."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Storage:
    """One format of a number.

    Attributes:
        code: as headers of files name it: "BF16".
        dtype: torch's.
        name: as nodes show it: "bf16"; "" where nobody can choose it.
        computes: the dtype that a model whose large matrices are stored so computes in on a GPU.
    """

    code: str
    dtype: torch.dtype
    name: str = ""
    computes: torch.dtype | None = None


STORAGES = (
    Storage("F32", torch.float32, "fp32", torch.float32),
    Storage("BF16", torch.bfloat16, "bf16", torch.bfloat16),
    Storage("F16", torch.float16, "fp16", torch.float16),
    Storage("F8_E4M3", torch.float8_e4m3fn, "fp8_e4m3fn", torch.bfloat16),
    Storage("F8_E5M2", torch.float8_e5m2, "fp8_e5m2", torch.bfloat16),
    Storage("F64", torch.float64),
    Storage("I64", torch.int64),
    Storage("U64", torch.uint64),
    Storage("I32", torch.int32),
    Storage("U32", torch.uint32),
    Storage("I16", torch.int16),
    Storage("U16", torch.uint16),
    Storage("I8", torch.int8),
    Storage("U8", torch.uint8),
    Storage("BOOL", torch.bool),
)
BY_CODE = {storage.code: storage for storage in STORAGES}
BY_DTYPE = {storage.dtype: storage for storage in STORAGES}
# What users choose from, in the order nodes show it.
DTYPES = {storage.name: storage.dtype for storage in STORAGES if storage.name}
# Floating point of 8 bits: torch neither compares nor adds these.
FP8 = tuple(storage.dtype for storage in STORAGES if storage.dtype.is_floating_point and storage.dtype.itemsize == 1)


def is_fp8(code: str) -> bool:
    """Whether a file's header names an 8-bit float."""
    return code in BY_CODE and BY_CODE[code].dtype in FP8


def is_float(code: str) -> bool:
    """Whether a file's header names floating point numbers."""
    return code in BY_CODE and BY_CODE[code].dtype.is_floating_point


def bytes_of(code: str) -> int:
    """Bytes of one number; 4 for a code that no version knows."""
    if code.startswith("F8_"):
        return 1  # files may name an 8-bit float that this torch does not have
    return BY_CODE[code].dtype.itemsize if code in BY_CODE else 4
