"""The header of a file of tensors: names, dtypes and shapes, without reading a tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

from torch import Tensor

from ..base.storage import BY_CODE, Storage, bytes_of


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file.

    Attributes:
        dtype: as safetensors spells it ("BF16").
        shape: of the numbers it stands for.
        packed_bytes: as stored, where several numbers share a byte or have a scale beside them; None: the dtype tells.
    """

    dtype: str
    shape: tuple[int, ...]
    packed_bytes: int | None = None

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * bytes_of(self.dtype) if self.packed_bytes is None else self.packed_bytes


class Container(Protocol):
    """A file of tensors whose header is read.

    Attributes:
        header: name -> dtype and shape, in the file's order.
        metadata: free texts: training settings of a LoRA, a model's config; often none.
    """

    @property
    def path(self) -> Path: ...

    @property
    def header(self) -> dict[str, TensorInfo]: ...

    @property
    def metadata(self) -> dict[str, str]: ...

    def tensors(self) -> AbstractContextManager[Callable[[str], Tensor]]:
        """A function (name -> tensor) that reads from the file as long as the context is open.

        Raises:
            ModelFileError: the file is damaged.
        """
        ...


class ContainerFormat(Protocol):
    """A way to keep tensors in a file.

    Attributes:
        endings: of its files' names, in small letters: (".gguf",).
    """

    @property
    def endings(self) -> tuple[str, ...]: ...

    def matches(self, start: bytes) -> bool:
        """Whether a file is of this format that starts with these 16 bytes (fewer in a shorter file)."""
        ...

    def open(self, path: Path) -> Container:
        """The file with its header read.

        Raises:
            ModelFileError: it is damaged or cut short.
            OSError: it cannot be read.
        """
        ...


def parameter_counts(header: Mapping[str, TensorInfo]) -> dict[str, int]:
    """Number of stored elements by dtype, in safetensors' spelling."""
    counts: dict[str, int] = {}
    for info in header.values():
        counts[info.dtype] = counts.get(info.dtype, 0) + prod(info.shape)
    return counts


def most_stored(header: Mapping[str, TensorInfo]) -> Storage | None:
    """The dtype of most elements; None where networks do not compute with it, or the file is empty.

    Not what most tensors are: the many small ones of an fp8 file (biases, norms) are often stored wider.
    """
    counts = parameter_counts(header)
    storage = BY_CODE.get(max(counts, key=lambda code: counts[code], default=""))
    return storage if storage is not None and storage.name else None


def tensor_bytes(header: Mapping[str, TensorInfo]) -> int:
    """Size of all tensors as stored, in bytes."""
    return sum(info.nbytes for info in header.values())
