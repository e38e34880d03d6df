"""Build a diffusers or transformers module without memory, then fill it from files, strictly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

import torch
from torch import Tensor, nn

from ..base import Variant
from ..base.keys import Renamed, Rule, joined, translate
from ..base.packed import PackedTensor, PackedWeight
from ..base.storage import FP8
from .containers import open_container
from .errors import ModelFileError
from .header import Container, TensorInfo
from .libraries import library_class
from .quantised import Quantisation, read_layer, split_header
from .quantised.columns import side_by_side
from .reading import OnBytes, Reading
from .stored_dtype import as_dtype, fp32_names, stored_dtype


def build(class_name: str, config: Mapping[str, Any], extend: Callable[[nn.Module], None] | None = None) -> nn.Module:
    """The module on the meta device: names and shapes, no weights. Buffers are real.

    Args:
        extend: adds what the library's class lacks.
    """
    cls: Any = library_class(class_name)
    plain = {k: v for k, v in config.items() if not k.startswith("_")}
    with _meta_parameters():
        is_diffusers = hasattr(cls, "load_config")
        module = cls.from_config(plain) if is_diffusers else cls(cls.config_class.from_dict(plain))
        if extend is not None:
            extend(module)
    return module.eval().requires_grad_(False)


def extension(variant: Variant) -> Callable[[nn.Module], None] | None:
    """The `extend` argument of `build` for a variant's denoiser."""
    extend = variant.family.network.extend
    return None if extend is None else lambda module: extend(variant, module)


def fill(
    module: nn.Module,
    files: tuple[Path, ...],
    *,
    dtype: torch.dtype | None = None,
    tied: Mapping[str, str] | None = None,
    rules: Sequence[Rule] = (),
    prefix: str = "",
    from_folder: bool = True,
    on_bytes: OnBytes | None = None,
    keeps_packed: bool = False,
    keeps_convolutions: bool = False,
) -> nn.Module:
    """Read every parameter from the files, strictly, one tensor at a time.

    Args:
        dtype: what weights are stored as; None keeps the files' own. With an fp8 dtype only the large matrices
            become fp8, everything else bf16.
        tied: parameter -> the one it shares its weight with, for files that hold only one of the two.
        rules, prefix: how the files' names become the module's; names without the prefix belong to other parts.
        from_folder: the config that the module was built from lies beside the files.
        on_bytes: called with (bytes read, bytes in all); may raise to stop.
        keeps_packed: linear layers and embeddings hold packed weights as they are stored, if their format can; all
            others are multiplied out to `dtype`, fp32 for None.
        keeps_convolutions: convolutions hold them too, as VAEs have them.
    Raises:
        ModelFileError: as `check`; or a damaged file.
    """
    headers = [_Header.of(path) for path in files]
    total = _checked(module, headers, tied, rules, prefix, from_folder)
    keep = fp32_names(module)

    def put(name: str, weight: Tensor | PackedWeight, path: Path) -> None:
        target = stored_dtype(name, weight, dtype, keep)
        tensor = None
        if keeps_packed and isinstance(weight, PackedWeight):
            tensor = _held_packed(module, name, weight, target, keeps_convolutions)
        _assign(module, name, as_dtype(name, weight, target, path) if tensor is None else tensor)

    read: set[str] = set()
    joins: dict[str, dict[int, Tensor | PackedWeight]] = {}
    reading = Reading(total, on_bytes)
    for header in headers:
        for renamed, weights in _weights(header, rules, prefix, reading):
            for name, weight in zip(renamed.names, weights, strict=True):
                if renamed.place is not None:
                    joins.setdefault(name, {})[renamed.place] = weight
                    continue
                put(name, weight, header.file.path)
                read.add(name)
    for name, pieces in joins.items():
        put(name, _joined(name, pieces, files[0]), files[0])
    for name, twin in (tied or {}).items():
        if (name in read) != (twin in read):
            have, lack = (name, twin) if name in read else (twin, name)
            _assign(module, lack, module.get_parameter(have))
    return module


@dataclass(frozen=True)
class _Header:
    """What is read of a file before its numbers, see `split_header`."""

    file: Container
    weights: Mapping[str, TensorInfo]
    quantisation: Quantisation

    @classmethod
    def of(cls, path: Path) -> _Header:
        file = open_container(path)
        return cls(file, *split_header(file))

    def nbytes(self, stored: str) -> int:
        """Bytes of a weight in the file, its scales included."""
        layer = self.quantisation.layers.get(stored)
        names = (stored,) if layer is None else layer.names.values()
        return sum(self.file.header[name].nbytes for name in names)


def _weights(
    header: _Header, rules: Sequence[Rule], prefix: str, reading: Reading
) -> Iterator[tuple[Renamed, Sequence[Tensor] | Sequence[PackedWeight]]]:
    """Read a file's weights one at a time: where each goes, and its parts, one for each name."""
    with header.file.tensors() as read_tensor:
        read = reading.through(read_tensor)
        for stored in header.weights:
            renamed = translate(stored, rules, prefix)
            if renamed is None or not renamed.names:
                continue
            layer = header.quantisation.layers.get(stored)
            if layer is None:
                yield renamed, renamed.tensors(read(stored))
            else:
                yield renamed, _packed_parts(renamed, read_layer(layer, read))


def _packed_parts(renamed: Renamed, weight: PackedWeight) -> list[PackedWeight]:
    """The parts of a packed weight, each with the rows that the rule would give it, in the rule's shape."""
    if not renamed.splits:
        return [weight] * len(renamed.names)
    rows = renamed.tensors(torch.arange(weight.shape[0]))
    shapes = renamed.shapes(weight.shape)
    return [replace(weight.rows(index), shape=shape) for index, shape in zip(rows, shapes, strict=True)]


def _joined(name: str, pieces: Mapping[int, Tensor | PackedWeight], path: Path) -> Tensor | PackedWeight:
    """Several weights as one, packed where that is exact; else multiplied out."""
    weights = [pieces[place] for place in sorted(pieces)]
    packed = [weight for weight in weights if isinstance(weight, PackedWeight)]
    if packed and len(packed) == len(weights):
        whole = side_by_side(packed)
        if whole is not None:
            return whole
    plain = {place: as_dtype(name, weight, torch.float32, path) if isinstance(weight, PackedWeight) else weight
             for place, weight in pieces.items()}  # fmt: skip
    return joined(plain)


_MATRICES, _CONVOLUTIONS = (nn.Linear, nn.Embedding), (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _held_packed(
    module: nn.Module, name: str, weight: PackedWeight, target: torch.dtype, keeps_convolutions: bool
) -> PackedTensor | None:
    """A packed weight as it is stored, where its layer can dequantise it while it computes."""
    owner, _, leaf = name.rpartition(".")
    layer = module.get_submodule(owner)
    if leaf != "weight" or not weight.format.stays_packed or target in FP8:
        return None
    if isinstance(layer, _CONVOLUTIONS):
        return PackedTensor(weight, target) if keeps_convolutions else None
    # A convolution over one position may have become a linear layer; hosts take stored matrices only.
    is_held = type(layer) in _MATRICES and all(tensor.ndim <= 2 for tensor in weight.tensors.values())
    return PackedTensor(weight, target) if is_held else None


def check(
    module: nn.Module,
    files: tuple[Path, ...],
    tied: Mapping[str, str] | None = None,
    rules: Sequence[Rule] = (),
    prefix: str = "",
    from_folder: bool = True,
) -> int:
    """Compare a built module's names and shapes with the files' headers; no tensor is read.

    Returns:
        How many bytes the files hold for this module.
    Raises:
        ModelFileError: missing, unexpected or wrong-shape tensors, by name; or a file that is cut short.
    """
    return _checked(module, [_Header.of(path) for path in files], tied, rules, prefix, from_folder)


def _checked(
    module: nn.Module,
    headers: Sequence[_Header],
    tied: Mapping[str, str] | None,
    rules: Sequence[Rule],
    prefix: str,
    from_folder: bool,
) -> int:
    """As `check`, of files whose headers are read."""
    shapes: dict[str, tuple[int, ...]] = {}
    joins: dict[str, dict[int, Tensor]] = {}
    nbytes = 0
    for header in headers:
        for stored, info in header.weights.items():
            renamed = translate(stored, rules, prefix)
            if renamed is not None and renamed.names:
                shapes.update(zip(renamed.names, renamed.shapes(info.shape), strict=True))
                if renamed.place is not None:
                    joins.setdefault(renamed.names[0], {})[renamed.place] = torch.empty(info.shape, device="meta")
                nbytes += header.nbytes(stored)
    shapes.update({name: tuple(joined(pieces).shape) for name, pieces in joins.items()})
    once = {k: v for k, v in (tied or {}).items() if (k in shapes) != (v in shapes)}
    # remove_duplicate=False: a tied weight has two names, and both must lose their meta tensor.
    expected = dict(module.named_parameters(remove_duplicate=False)) | {
        k: b for k, b in module.named_buffers() if k in shapes
    }
    first = headers[0].file.path
    _compare(shapes, expected, once, first.parent if from_folder else first, from_folder)
    return nbytes


def _compare(
    header: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, Tensor],
    tied: Mapping[str, str],
    where: Path,
    from_folder: bool,
) -> None:
    missing = [n for n in expected if n not in header and n not in tied and n not in tied.values()]
    unexpected = [n for n in header if n not in expected]
    misshapen = [n for n in header if n in expected and header[n] != tuple(expected[n].shape)]
    if not (missing or unexpected or misshapen):
        return
    faults = []
    if misshapen:
        name = misshapen[0]
        faults.append(
            f"{len(misshapen)} of the wrong shape, first {name}: found {list(header[name])}, "
            f"expected {list(expected[name].shape)}"
        )
    if missing:
        faults.append(f"{len(missing)} missing, first {missing[0]}")
    if unexpected:
        faults.append(f"{len(unexpected)} unexpected, first {unexpected[0]}")
    if not from_folder:
        raise ModelFileError(
            f"{where}: the file does not hold this model whole. Of {len(expected)} tensors: {'; '.join(faults)}. "
            "The download is not complete, or the file is a variant that this version does not know."
        )
    raise ModelFileError(
        f"{where}: the weights do not fit the config.json beside them. Of {len(expected)} tensors: "
        f"{'; '.join(faults)}. Weights and config belong to different models or versions: get both from the same place."
    )


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    owner_name, _, leaf = name.rpartition(".")
    owner = module.get_submodule(owner_name)
    if leaf in owner._buffers:
        owner._buffers[leaf] = tensor
    else:
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)


_BUILDING = Lock()


@contextmanager
def _meta_parameters() -> Iterator[None]:
    """Parameters that this thread registers inside land on the meta device; buffers (position tables) stay real."""
    # Every module of the process registers parameters through this class, so only this thread's go to meta, and a
    # second build waits.
    with _BUILDING:
        original, thread = nn.Module.register_parameter, get_ident()

        def register(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
            original(self, name, param)
            if param is not None and get_ident() == thread:
                self._parameters[name] = nn.Parameter(param.to("meta"), requires_grad=False)

        nn.Module.register_parameter = register
        try:
            yield
        finally:
            nn.Module.register_parameter = original
