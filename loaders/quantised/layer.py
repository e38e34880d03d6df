"""Where a file stores a packed weight, and the protocol of a packed format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...base.packed import WeightFormat
from .marks import MarkedFile


class PackedFormat(WeightFormat, Protocol):
    """A packed weight format that is recognised in files."""

    def layers(self, file: MarkedFile) -> Mapping[str, StoredLayer]:
        """The weights of this format in a file, by the name that key rules know ("blocks.0.q.weight").

        Raises:
            ModelFileError: a layer of this format whose tensors are missing, surplus or misshapen.
        """
        ...


@dataclass(frozen=True)
class StoredLayer:
    """Where a file stores one packed weight.

    Attributes:
        shape: of the weight's numbers.
        names: role -> the tensor's name in the file. The place of the first in the file is the weight's.
        parameters: as `PackedWeight.parameters`.
    """

    format: PackedFormat
    shape: tuple[int, ...]
    names: Mapping[str, str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
