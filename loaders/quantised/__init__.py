"""Packed weight formats. A module of this folder with a `FORMAT` adds a format."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ...base.packed import PackedWeight
from ...base.recognise import HELPERS, SCALES
from ...base.storage import is_fp8
from ..errors import ModelFileError
from ..header import Container, TensorInfo
from .layer import PackedFormat, StoredLayer

FORMATS: list[PackedFormat] = [
    module.FORMAT
    for module in (importlib.import_module(f".{info.name}", __name__) for info in pkgutil.iter_modules(__path__))
    if hasattr(module, "FORMAT")
]


@dataclass(frozen=True)
class Quantisation:
    """The storage of a file's weights.

    Attributes:
        layers: name of a weight -> what the file stores of it; none for plain weights.
        kind: "", "fp8" (8 bits as they are), or the names of the packed formats: "scaled fp8".
    """

    layers: Mapping[str, StoredLayer] = field(default_factory=dict)
    kind: str = ""

    @property
    def stays_packed(self) -> bool:
        """Whether layers can keep their weights packed."""
        return any(layer.format.stays_packed for layer in self.layers.values())


def split_header(file: Container) -> tuple[dict[str, TensorInfo], Quantisation]:
    """(the weights alone, with the shapes of the dequantised numbers; their storage).

    Raises:
        ModelFileError: a format that is not read here (nvfp4, mxfp8, int8 ...), by its tensor.
    """
    layers: dict[str, StoredLayer] = {}
    for packed_format in FORMATS:
        layers |= packed_format.layers(file)
    first = {next(iter(layer.names.values())): name for name, layer in layers.items()}
    parts = {stored for layer in layers.values() for stored in layer.names.values()}
    weights: dict[str, TensorInfo] = {}
    for name, info in file.header.items():
        if name in first:
            layer = layers[first[name]]
            size = sum(file.header[stored].nbytes for stored in layer.names.values())
            weights[first[name]] = TensorInfo(info.dtype, layer.shape, size)
        elif name not in parts and not f".{name}".endswith(".scaled_fp8"):
            _refuse_scale(name, file)
            if not name.endswith(HELPERS):
                weights[name] = info
    kinds = dict.fromkeys(layer.format.name for layer in layers.values())
    has_fp8 = any(is_fp8(info.dtype) for info in weights.values())
    return weights, Quantisation(layers, " and ".join(kinds) or ("fp8" if has_fp8 else ""))


def read_layer(layer: StoredLayer, read: Callable[[str], Tensor]) -> PackedWeight:
    """A layer's record, with its tensors read from an open file."""
    tensors = {role: read(name) for role, name in layer.names.items()}
    return PackedWeight(layer.format, layer.shape, tensors, layer.parameters)


def _refuse_scale(name: str, file: Container) -> None:
    """Refuse a scale that belongs to no layer of a known format."""
    end = next((end for end in SCALES if name.endswith(end)), None)
    if end is None:
        return
    weight = name.removesuffix(end) + ".weight"
    info = file.header.get(weight)
    if info is None:
        raise ModelFileError(f"{file.path}: {name} is there without {weight}. The file is damaged: get it again.")
    raise ModelFileError(
        f"{file.path}: {weight} is stored as {info.dtype} {list(info.shape)} with a scale of "
        f"{list(file.header[name].shape)}: a 4-bit, int8 or block-scaled format, which this version cannot read. Get "
        "the bf16, fp16 or fp8 version of this model."
    )
