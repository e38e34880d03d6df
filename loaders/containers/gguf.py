"""GGUF: metadata by key, the tensors' names and shapes, then their numbers, in blocks of few bits or plain.

Source: https://github.com/ggml-org/ggml, docs/gguf.md (versions 2 and 3); `comfy.gguf.orig_shape.*`:
https://github.com/city96/ComfyUI-GGUF, tools/convert.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...base.storage import BY_CODE as STORAGES
from ..errors import ModelFileError
from ..gguf_header import AGAIN, ARRAY, NUMBERS, TEXT, GGUFHeader
from ..gguf_parts import check_parts, split_place
from ..gguf_types import BLOCK_TYPES, BlockType
from ..header import TensorInfo

MAGIC = b"GGUF"
# A tensor's name -> the shape it had before a tool folded it, because ggml knows four axes at most.
ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
_MAX_AXES = 8


@dataclass(frozen=True)
class Stored:
    """Where a tensor's bytes are: type, shape of a row-major array of the numbers, first byte, and the file."""

    kind: BlockType
    shape: tuple[int, ...]
    start: int
    path: Path

    @property
    def nbytes(self) -> int:
        return prod(self.shape) // self.kind.numbers * self.kind.nbytes


@dataclass(frozen=True)
class GGUFFile:
    """A `Container`. A packed tensor is read as its bytes, uint8 [..., bytes of a row].

    Attributes:
        path: of a model that is split into several files, the first.
        metadata: the single values, as texts.
        arrays: key of a list in the metadata -> (type, count, first byte in the file).
    """

    path: Path
    header: dict[str, TensorInfo] = field(repr=False)
    metadata: dict[str, str] = field(repr=False)
    arrays: Mapping[str, tuple[int, int, int]] = field(repr=False)
    stored: Mapping[str, Stored] = field(repr=False)

    @contextmanager
    def tensors(self) -> Iterator[Callable[[str], Tensor]]:
        with ExitStack() as files:
            paths = dict.fromkeys(stored.path for stored in self.stored.values())
            parts = {path: files.enter_context(open(path, "rb")) for path in paths}
            yield lambda name: _read(parts[self.stored[name].path], self.header[name], self.stored[name])

    def array(self, key: str) -> list[Any] | None:
        """A list of the metadata (a tokenizer's words); None where there is none of this name."""
        if key not in self.arrays:
            return None
        kind, count, start = self.arrays[key]
        with open(self.path, "rb") as file:
            file.seek(start)
            return GGUFHeader(file, self.path, start).values(kind, count)


class GGUF:
    endings = (".gguf",)

    def matches(self, start: bytes) -> bool:
        return start.startswith(MAGIC)

    def open(self, path: Path) -> GGUFFile:
        first = _part_header(path)
        paths = check_parts(path, first.values)
        parts = [first if part == path else _part_header(part) for part in paths]
        stored = _joined(parts)
        first = parts[0]
        metadata = {key: str(value) for key, value in first.values.items() if key not in first.arrays}
        file = GGUFFile(first.path, {}, metadata, first.arrays, stored)
        for name, tensor in stored.items():
            shape = _original_shape(file, name, tensor.shape)
            file.header[name] = TensorInfo(tensor.kind.code, shape, tensor.nbytes if tensor.kind.is_packed else None)
        return file


FORMAT = GGUF()


@dataclass(frozen=True)
class _PartHeader:
    """What the header of one file says."""

    path: Path
    values: Mapping[str, Any]
    arrays: dict[str, tuple[int, int, int]]
    stored: dict[str, Stored]


def _part_header(path: Path) -> _PartHeader:
    with open(path, "rb") as file:
        header = GGUFHeader(file, path)
        tensor_count, value_count = _counts(header)
        arrays: dict[str, tuple[int, int, int]] = {}
        values: dict[str, Any] = {}
        for _ in range(value_count):
            key = header.text()
            if key in values:
                raise header.damaged(f"the key {key} is there twice")
            values[key] = _value(header, arrays, key)
        entries = [_entry(header) for _ in range(tensor_count)]
        alignment = values.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise header.damaged(f"general.alignment is {alignment}, which is no power of two")
        begin = -(-header.position // alignment) * alignment
    return _PartHeader(path, values, arrays, _placed(path, entries, begin))


def _joined(parts: Sequence[_PartHeader]) -> dict[str, Stored]:
    """Name -> place of the tensors of all parts.

    Raises:
        ModelFileError: none; parts of several models, or a name twice.
    """
    first, stored = parts[0], dict[str, Stored]()
    for number, part in enumerate(parts):
        if len(parts) > 1 and split_place(part.values) != (number, len(parts)):
            raise ModelFileError(
                f"{part.path}: is not part {number + 1} of the {len(parts)} that {first.path.name} begins. {AGAIN}"
            )
        twice = next((name for name in part.stored if name in stored), None)
        if twice is not None:
            raise ModelFileError(f"{part.path}: the tensor {twice} is in another part too. {AGAIN}")
        stored |= part.stored
    if not stored:
        raise ModelFileError(
            f"{first.path}: holds metadata and no tensor (a vocabulary alone). Get the model's own file."
        )
    expected = first.values.get("split.tensors.count", len(stored))
    if len(parts) > 1 and expected != len(stored):
        raise ModelFileError(
            f"{first.path}: its {len(parts)} parts hold {len(stored):,} tensors, and it states {expected:,}: they are "
            f"parts of several models. {AGAIN}"
        )
    return stored


def _counts(header: GGUFHeader) -> tuple[int, int]:
    """How many tensors, and how many values of metadata."""
    header.take(len(MAGIC))
    version = header.number("I")
    if version == 1:
        raise ModelFileError(
            f"{header.path}: is GGUF version 1, of August 2023, which is not read any more. Get a file of version 3, "
            "as every present tool writes it."
        )
    if version >= 2**16:
        raise ModelFileError(
            f"{header.path}: is GGUF with its bytes in the order of a big-endian machine. Get the little-endian file "
            "of this model, which is the usual one."
        )
    if version not in (2, 3):
        raise ModelFileError(
            f"{header.path}: is GGUF version {version}; this version of the pack reads 2 and 3. Update OpenT2V, or get "
            "the file in version 3."
        )
    counts = header.number("Q"), header.number("Q")
    if any(count * 8 > header.size for count in counts):
        raise header.damaged(f"it counts {counts[0]:,} tensors and {counts[1]:,} values in {header.size:,} bytes")
    return counts


def _value(header: GGUFHeader, arrays: dict[str, tuple[int, int, int]], key: str) -> Any:
    """One value of the metadata; a list is passed over, and only its place noted."""
    kind = header.number("I")
    if kind in NUMBERS:
        return header.number(NUMBERS[kind])
    if kind == TEXT:
        return header.text()
    if kind != ARRAY:
        raise header.damaged(f"{key} has the unknown type {kind}")
    inner, count = header.number("I"), header.number("Q")
    arrays[key] = (inner, count, header.position)
    header.skip(inner, count)
    return None


def _entry(header: GGUFHeader) -> tuple[str, BlockType, tuple[int, ...], int]:
    """One tensor: (name, type, shape with the longest-strided axis first, place behind the header)."""
    name, axes = header.text(), header.number("I")
    if axes > _MAX_AXES:
        raise header.damaged(f"{name} has {axes} axes")
    shape = tuple(header.number("Q") for _ in range(axes))[::-1]
    number, offset = header.number("I"), header.number("Q")
    kind = BLOCK_TYPES.get(number)
    if kind is None:
        raise ModelFileError(
            f"{header.path}: {name} has GGUF's number format {number}, which this version does not know. Update "
            "OpenT2V, or get the Q8_0 or Q4_K_M file of this model."
        )
    if not prod(shape):
        raise header.damaged(f"{name} is empty: {list(shape)}")
    if (shape[-1] if shape else 1) % kind.numbers:
        raise header.damaged(
            f"{name} has rows of {(shape or (1,))[-1]}, no whole blocks of {kind.numbers} ({kind.code})"
        )
    return name, kind, shape, offset


def _placed(path: Path, entries: list[tuple[str, BlockType, tuple[int, ...], int]], begin: int) -> dict[str, Stored]:
    """Name -> place of each tensor.

    Raises:
        ModelFileError: a name twice; bytes of two tensors at one place, or behind the file's end.
    """
    stored: dict[str, Stored] = {}
    for name, kind, shape, offset in entries:
        if name in stored:
            raise ModelFileError(f"{path}: the GGUF header is damaged: the tensor {name} is there twice. {AGAIN}")
        stored[name] = Stored(kind, shape, begin + offset, path)
    in_order = sorted(stored, key=lambda name: stored[name].start)
    end, last = begin, ""
    for name in in_order:
        if stored[name].start < end:
            raise ModelFileError(
                f"{path}: the GGUF header is damaged: {last} and {name} lie in the same bytes. {AGAIN}"
            )
        end, last = stored[name].start + stored[name].nbytes, name
    size = path.stat().st_size
    if size < end:
        raise ModelFileError(
            f"{path}: the file is cut short. Found {size:,} bytes, expected {end:,}. "
            "The download or copy did not finish: get the file again."
        )
    return stored


def _original_shape(file: GGUFFile, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a tensor had before it was folded."""
    entry = file.arrays.get(ORIGINAL_SHAPE + name)
    if entry is None:
        return shape
    if entry[0] in NUMBERS and entry[1] <= _MAX_AXES:
        original = tuple(file.array(ORIGINAL_SHAPE + name) or ())
        if all(isinstance(axis, int) and axis > 0 for axis in original) and prod(original) == prod(shape):
            return original
    raise ModelFileError(
        f"{file.path}: the GGUF header is damaged: {ORIGINAL_SHAPE}{name} does not hold the {prod(shape):,} numbers of "
        f"{list(shape)}. {AGAIN}"
    )


def _read(file: BufferedReader, info: TensorInfo, stored: Stored) -> Tensor:
    raw = torch.empty(stored.nbytes, dtype=torch.uint8)
    file.seek(stored.start)
    if file.readinto(raw.numpy().data) != stored.nbytes:
        raise ModelFileError(f"{stored.path}: the file is damaged (it became shorter while it was read). {AGAIN}")
    if stored.kind.is_packed:
        return raw.reshape(*stored.shape[:-1], -1)
    return raw.view(STORAGES[stored.kind.code].dtype).reshape(info.shape)
