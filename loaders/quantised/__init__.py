"""Packed weight formats. A module of this folder with a `FORMAT` adds a format."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ...base.packed import PackedWeight
from ...base.recognise import HELPERS
from ...base.storage import BY_CODE, is_fp8
from ...base.units import bytes_text
from ..header import Container, TensorInfo
from .layer import PackedFormat, StoredLayer
from .marks import MARK, marked
from .refused import refuse_leftover, refuse_others, refuse_unknown
from .scaled_fp8 import OLD_MARK

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

    def text(self, weights: Mapping[str, TensorInfo]) -> str:
        """How weights are stored, the largest share first: "int8 convrot 19.6 GiB, 312 layers; bf16 0.4 GiB".

        Args:
            weights: some of the header's, by their names there.
        """
        sizes: dict[str, int] = {}
        counts: dict[str, int] = {}
        for name, info in weights.items():
            layer = self.layers.get(name)
            storage = BY_CODE.get(info.dtype)
            kind = layer.format.name if layer else (storage and storage.name) or info.dtype.lower()
            sizes[kind] = sizes.get(kind, 0) + info.nbytes
            counts[kind] = counts.get(kind, 0) + (layer is not None)
        return "; ".join(
            _share(kind, sizes[kind], counts[kind]) for kind in sorted(sizes, key=lambda kind: -sizes[kind])
        )

    @property
    def stays_packed(self) -> bool:
        """Whether layers can keep their weights packed."""
        return any(layer.format.stays_packed for layer in self.layers.values())


def split_headers(files: Iterable[Container]) -> tuple[dict[str, TensorInfo], Quantisation]:
    """As `split_header`, over all files of a network."""
    weights: dict[str, TensorInfo] = {}
    layers: dict[str, StoredLayer] = {}
    kinds: dict[str, None] = {}
    for file in files:
        header, quantisation = split_header(file)
        weights |= header
        layers |= quantisation.layers
        kinds[quantisation.kind] = None
    return weights, Quantisation(layers, " and ".join(filter(None, kinds)))


def split_header(file: Container) -> tuple[dict[str, TensorInfo], Quantisation]:
    """(the weights alone, with the shapes of the dequantised numbers; their storage).

    Raises:
        ModelFileError: a format that is not read here, or a layer whose tensors do not fit its format, by name.
    """
    refuse_others(file)
    marked_file = marked(file)
    layers: dict[str, StoredLayer] = {}
    for packed_format in FORMATS:
        layers |= packed_format.layers(marked_file)
    refuse_unknown(marked_file, layers)
    first = {next(iter(layer.names.values())): name for name, layer in layers.items()}
    parts = {stored for layer in layers.values() for stored in layer.names.values()}
    weights: dict[str, TensorInfo] = {}
    for name, info in file.header.items():
        if name in first:
            layer = layers[first[name]]
            size = sum(file.header[stored].nbytes for stored in layer.names.values())
            weights[first[name]] = TensorInfo(info.dtype, layer.shape, size)
        elif name not in parts and not name.endswith(MARK) and not f".{name}".endswith(f".{OLD_MARK}"):
            refuse_leftover(name, file)
            if not name.endswith(HELPERS):
                weights[name] = info
    kinds = dict.fromkeys(layer.format.name for layer in layers.values())
    has_fp8 = any(is_fp8(info.dtype) for info in weights.values())
    return weights, Quantisation(layers, " and ".join(kinds) or ("fp8" if has_fp8 else ""))


def read_layer(layer: StoredLayer, read: Callable[[str], Tensor]) -> PackedWeight:
    """A layer's record, with its tensors read from an open file."""
    tensors = {role: read(name) for role, name in layer.names.items()}
    return PackedWeight(layer.format, layer.shape, tensors, layer.parameters)


def _share(kind: str, size: int, layers: int) -> str:
    if layers == 1:
        return f"{kind} {bytes_text(size)}, 1 layer"
    return f"{kind} {bytes_text(size)}, {layers} layers" if layers else f"{kind} {bytes_text(size)}"
