"""GGUF files of the tests' own, byte by byte: no library takes part, so that odd ones can be written too."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opent2v.loaders.gguf_types import BLOCK_TYPES, BY_CODE

NUMBERS = {kind.code: number for number, kind in BLOCK_TYPES.items()}
PLAIN = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32"}
# Block type -> (places of its 16-bit floats, the size of a number whose floats are 1).
FLOATS = {
    "Q8_0": ((0,), 70), "Q4_0": ((0,), 5), "Q4_1": ((0, 2), 9), "Q5_0": ((0,), 10), "Q5_1": ((0, 2), 18),
    "Q2_K": ((80, 82), 15), "Q3_K": ((108,), 40), "Q4_K": ((0, 2), 300), "Q5_K": ((0, 2), 600), "Q6_K": ((208,), 1300),
    "IQ4_NL": ((0,), 60), "IQ4_XS": ((0,), 1100),
}  # fmt: skip
PACKED = tuple(FLOATS)


@dataclass(frozen=True)
class Blocks:
    """A packed tensor: its type, its shape with the rows first, and its bytes, uint8."""

    code: str
    shape: tuple[int, ...]
    stored: Tensor


def random_blocks(code: str, shape: Sequence[int], size: float = 0.05, seed: int = 0) -> Blocks:
    """Any bytes are numbers of a block format, once its 16-bit floats are small; half of these are negative."""
    kind, dice = BY_CODE[code], torch.Generator().manual_seed(seed)
    count = prod(shape) // kind.numbers
    stored = torch.randint(0, 256, (count, kind.nbytes), dtype=torch.uint8, generator=dice)
    places, whole = FLOATS[code]
    for place in places:
        floats = (torch.rand(count, 1, generator=dice) - 0.5) * (2 * size / whole)
        stored[:, place : place + 2] = floats.half().view(torch.uint8)
    return Blocks(code, tuple(shape), stored.flatten())


def written(
    tensors: Mapping[str, Tensor | Blocks] | Sequence[tuple[str, Tensor | Blocks]],
    metadata: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
    version: int = 3,
    alignment: int = 32,
    order: str = "<",
) -> bytes:
    """A whole file.

    Args:
        order: of the bytes in a number, ">" for a big-endian machine.
    """
    tensors = list(tensors.items()) if isinstance(tensors, Mapping) else list(tensors)
    metadata = list(metadata.items()) if isinstance(metadata, Mapping) else list(metadata)
    head = b"GGUF" + struct.pack(f"{order}IQQ", version, len(tensors), len(metadata))
    for key, value in metadata:
        head += text(key, order) + value_bytes(value, order)
    infos, data = b"", b""
    for name, tensor in tensors:
        code, shape, raw = parts(tensor)
        infos += text(name, order) + struct.pack(f"{order}I{len(shape)}Q", len(shape), *reversed(shape))
        infos += struct.pack(f"{order}IQ", NUMBERS[code], len(data))
        data += raw + bytes(-len(raw) % alignment)
    head += infos
    return head + bytes(-len(head) % alignment) + data


def parts(tensor: Tensor | Blocks) -> tuple[str, tuple[int, ...], bytes]:
    """(type, shape, bytes)."""
    if isinstance(tensor, Blocks):
        return tensor.code, tensor.shape, tensor.stored.numpy().tobytes()
    plain = tensor.detach().contiguous()
    return PLAIN[plain.dtype], tuple(plain.shape), plain.flatten().view(torch.uint8).numpy().tobytes()


def text(content: str | bytes, order: str = "<") -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return struct.pack(f"{order}Q", len(raw)) + raw


def value_bytes(value: Any, order: str = "<") -> bytes:
    """A value of the metadata behind its type: text, whole number, float, or a list of one of these."""
    if isinstance(value, bytes):
        return value  # an odd one, written by the test itself
    if isinstance(value, list):
        kinds = [struct.unpack(f"{order}I", value_bytes(item, order)[:4])[0] for item in value[:1]] or [8]
        inner = b"".join(value_bytes(item, order)[4:] for item in value)
        return struct.pack(f"{order}IIQ", 9, kinds[0], len(value)) + inner
    if isinstance(value, str):
        return struct.pack(f"{order}I", 8) + text(value, order)
    if isinstance(value, bool):
        return struct.pack(f"{order}I?", 7, value)
    if isinstance(value, int):
        return struct.pack(f"{order}Ii", 5, value)
    return struct.pack(f"{order}If", 6, value)


def write(path: Path, tensors: Mapping[str, Tensor | Blocks], metadata: Mapping[str, Any] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(written(tensors, metadata or {}))
    return path
