"""safetensors: the length of the header in 8 bytes, the header as JSON, the tensors.

Source: https://github.com/huggingface/safetensors, README, "Format".
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ...base.storage import BY_CODE
from ..errors import ModelFileError
from ..header import TensorInfo

# The format's own limit: a header is at most 100 MB.
MAX_HEADER = 100_000_000


@dataclass(frozen=True)
class SafetensorsFile:
    """A `Container`."""

    path: Path
    header: dict[str, TensorInfo] = field(repr=False)
    metadata: dict[str, str] = field(repr=False)

    @contextmanager
    def tensors(self) -> Iterator[Callable[[str], Tensor]]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as opened:
                yield opened.get_tensor
        except SafetensorError as error:
            raise ModelFileError(f"{self.path}: the file is damaged ({error}). Download it again.") from error


class Safetensors:
    endings = (".safetensors", ".sft")

    def matches(self, start: bytes) -> bool:
        # The first two bytes of a 640 byte header equal those of a pickle; only the brace behind them distinguishes the
        # two.
        length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else None
        return length is not None and length <= MAX_HEADER and (length == 0 or start[8:9] in (b"{", b""))

    def open(self, path: Path) -> SafetensorsFile:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            raw = file.read(length)
        if len(raw) < length:
            raise ModelFileError(_cut_short(path, size, 8 + length))
        try:
            entries = json.loads(raw)
            header = {}
            end = 0
            for name, entry in entries.items():
                if name != "__metadata__":
                    header[name], last = _entry(name, entry)
                    end = max(end, last)
            metadata = {str(key): str(value) for key, value in (entries.get("__metadata__") or {}).items()}
            "".join((*header, *metadata, *metadata.values())).encode()  # half a character cannot be shown
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ModelFileError(
                f"{path}: the safetensors header is damaged ({error}). Download the file again."
            ) from error
        if size < 8 + length + end:
            raise ModelFileError(_cut_short(path, size, 8 + length + end))
        return SafetensorsFile(path, header, metadata)


FORMAT = Safetensors()


def _entry(name: str, entry: dict[str, Any]) -> tuple[TensorInfo, int]:
    """(dtype and shape, where the tensor's bytes end). Raises ValueError, LookupError or TypeError: a wrong entry."""
    dtype, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or not all(type(number) is int and number >= 0 for number in (*shape, first, last)):
        raise ValueError(f"{name!r} has the shape {shape!r} at {first!r} to {last!r}")
    info = TensorInfo(str(dtype), tuple(shape))
    if dtype in BY_CODE and last - first != info.nbytes:
        raise ValueError(f"{name!r} has {last - first:,} bytes and needs {info.nbytes:,}")
    return info, last


def _cut_short(path: Path, size: int, expected: int) -> str:
    return (
        f"{path}: the file is cut short. Found {size:,} bytes, expected {expected:,}. "
        "The download or copy did not finish: get the file again."
    )
