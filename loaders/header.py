"""The header of a safetensors file: names, dtypes and shapes, without reading a tensor."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from .errors import ModelFileError

# The format's own limit (safetensors README): a header is at most 100 MB.
MAX_HEADER = 100_000_000
# What torch.save writes: a zip archive, or a bare pickle of protocol 2 to 5.
_PICKLE_STARTS = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_DTYPE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file: its dtype as safetensors spells it ("BF16") and its shape."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Names, dtypes and shapes of a safetensors file.

    Raises:
        ModelFileError: missing, empty, cut short, a pickle, or not a safetensors file at all.
    """
    return _read(path)[0]


def read_header_and_metadata(path: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """As `read_header`, and the free text entries: training settings of a LoRA, a model's config; often none."""
    header, stated = _read(path)
    return header, {str(key): str(value) for key, value in (stated or {}).items()}


def _read(path: Path) -> tuple[dict[str, TensorInfo], Any]:
    """(tensors, "__metadata__" as it stands there or None)."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            raw = file.read(length) if length <= MAX_HEADER else b""
            # A header of 640 bytes starts with the same two bytes as a pickle: only what follows tells them apart.
            is_header = len(start) == 8 and length <= MAX_HEADER and raw[:1] in (b"{", b"")
            if not is_header and start[:2] in _PICKLE_STARTS:
                raise ModelFileError(
                    f"{path}: this is a Python pickle (a .pt or .ckpt file), whatever its name says. Pickles can run "
                    "code and are not opened. Get the safetensors version of this model, or convert the file with "
                    "scripts/convert.py."
                )
            if not is_header:
                raise ModelFileError(
                    f"{path}: {size} bytes that are not a safetensors file (no valid header). "
                    "The download may have saved a web page or an error text: download the file again."
                )
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if len(raw) < length:
        raise ModelFileError(_cut_short(path, size, 8 + length))
    try:
        entries = json.loads(raw)
        header = {}
        end = 0
        for name, entry in entries.items():
            if name != "__metadata__":
                header[name] = TensorInfo(entry["dtype"], tuple(entry["shape"]))
                end = max(end, entry["data_offsets"][1])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{path}: the safetensors header is damaged ({error}). Download the file again."
        ) from error
    if size < 8 + length + end:
        raise ModelFileError(_cut_short(path, size, 8 + length + end))
    return header, entries.get("__metadata__")


def numbers_of(header: Mapping[str, TensorInfo]) -> dict[str, int]:
    """How many numbers are stored, by dtype as safetensors spells it."""
    counts: dict[str, int] = {}
    for info in header.values():
        counts[info.dtype] = counts.get(info.dtype, 0) + prod(info.shape)
    return counts


def tensor_bytes(header: dict[str, TensorInfo]) -> int:
    """Size of all tensors as stored, in bytes."""
    return sum(prod(info.shape) * _DTYPE_BYTES.get(info.dtype, 4) for info in header.values())


def _cut_short(path: Path, size: int, expected: int) -> str:
    return (
        f"{path}: the file is cut short. Found {size:,} bytes, expected {expected:,}. "
        "The download or copy did not finish: get the file again."
    )
