"""Build a diffusers or transformers module without memory, then fill it from safetensors, strictly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

import torch
from torch import Tensor, nn

from ..base import Variant
from ..base.keys import Rule, joined, translate
from .cast import FP8, cast
from .errors import ModelFileError
from .header import read_header
from .libraries import library_class
from .quantised import read_weight, split_header

# dtype names as nodes show them.
DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


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
    """What `build` is given for a variant's denoiser."""
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
    on_tensor: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """Read every parameter from the files, strictly, one tensor at a time.

    Args:
        dtype: what weights are stored as; None keeps the files' own. With an fp8 dtype only the large matrices
            become fp8, everything else bf16.
        tied: parameter -> the one it shares its weight with, for files that hold only one of the two.
        rules, prefix: how the files' names become the module's; names without the prefix belong to other parts.
            A weight with a scale beside it is multiplied out first.
        from_folder: the config that the module was built from lies beside the files.
        on_tensor: called with (tensors read, tensors in all).
    Raises:
        ModelFileError: as `check`; or a file the format's own library refuses.
    """
    from safetensors import SafetensorError, safe_open

    total = check(module, files, tied, rules, prefix, from_folder)
    keep = _fp32_names(module)
    read: set[str] = set()
    joins: dict[str, dict[int, Tensor]] = {}
    count = 0
    for path in files:
        header, quantisation = split_header(read_header(path), path)
        try:
            with safe_open(path, framework="pt") as tensors:
                for stored in header:
                    renamed = translate(stored, rules, prefix)
                    if renamed is None or not renamed.names:
                        continue
                    weight, scale = read_weight(tensors, stored, quantisation)
                    parts = renamed.tensors(weight)
                    scales = renamed.tensors(scale) if scale is not None and scale.ndim else [scale] * len(parts)
                    for name, tensor, factor in zip(renamed.names, parts, scales, strict=True):
                        if renamed.place is not None:
                            plain = tensor if factor is None else _as_dtype(name, tensor, torch.float32, path, factor)
                            joins.setdefault(name, {})[renamed.place] = plain
                            continue
                        # Multiplied out in fp32, which it stays unless the caller says otherwise.
                        wanted = dtype if factor is None else dtype or torch.float32
                        target = _stored_dtype(name, tensor, wanted, keep)
                        _assign(module, name, _as_dtype(name, tensor, target, path, factor))
                        read.add(name)
                    count += 1
                    if on_tensor:
                        on_tensor(count, total)
        except SafetensorError as error:
            raise ModelFileError(f"{path}: the file is damaged ({error}). Download it again.") from error
    for name, pieces in joins.items():
        tensor = joined(pieces)
        _assign(module, name, _as_dtype(name, tensor, _stored_dtype(name, tensor, dtype, keep), files[0]))
    for one, other in (tied or {}).items():
        if (one in read) != (other in read):
            have, lack = (one, other) if one in read else (other, one)
            _assign(module, lack, module.get_parameter(have))
    return module


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
        How many tensors the files hold for this module.
    Raises:
        ModelFileError: missing, unexpected or wrong-shape tensors, by name; or a file that is cut short.
    """
    header: dict[str, tuple[int, ...]] = {}
    joins: dict[str, dict[int, Tensor]] = {}
    count = 0
    for path in files:
        for stored, info in split_header(read_header(path), path)[0].items():
            renamed = translate(stored, rules, prefix)
            if renamed is not None and renamed.names:
                header.update(zip(renamed.names, renamed.shapes(info.shape), strict=True))
                if renamed.place is not None:
                    joins.setdefault(renamed.names[0], {})[renamed.place] = torch.empty(info.shape, device="meta")
                count += 1
    header.update({name: tuple(joined(pieces).shape) for name, pieces in joins.items()})
    once = {k: v for k, v in (tied or {}).items() if (k in header) != (v in header)}
    # remove_duplicate=False: a tied weight has two names, and both must lose their meta tensor.
    wanted = dict(module.named_parameters(remove_duplicate=False)) | {
        k: b for k, b in module.named_buffers() if k in header
    }
    _compare(header, wanted, once, files[0].parent if from_folder else files[0])
    return count


def _compare(
    header: Mapping[str, tuple[int, ...]], wanted: Mapping[str, Tensor], tied: Mapping[str, str], where: Path
) -> None:
    missing = [n for n in wanted if n not in header and n not in tied and n not in tied.values()]
    unexpected = [n for n in header if n not in wanted]
    misshapen = [n for n in header if n in wanted and header[n] != tuple(wanted[n].shape)]
    if not (missing or unexpected or misshapen):
        return
    said = []
    if misshapen:
        name = misshapen[0]
        said.append(
            f"{len(misshapen)} of the wrong shape, first {name}: found {list(header[name])}, "
            f"expected {list(wanted[name].shape)}"
        )
    if missing:
        said.append(f"{len(missing)} missing, first {missing[0]}")
    if unexpected:
        said.append(f"{len(unexpected)} unexpected, first {unexpected[0]}")
    if where.suffix == ".safetensors":
        raise ModelFileError(
            f"{where}: the file does not hold this model whole. Of {len(wanted)} tensors: {'; '.join(said)}. "
            "The download is not complete, or the file is a variant that this version does not know."
        )
    raise ModelFileError(
        f"{where}: the weights do not fit the config.json beside them. Of {len(wanted)} tensors: {'; '.join(said)}. "
        "Weights and config belong to different models or versions: get both from the same place."
    )


def _fp32_names(module: nn.Module) -> tuple[str, ...]:
    """Name parts the library keeps in full precision, whatever the storage dtype."""
    return tuple(getattr(module, "_keep_in_fp32_modules", None) or ())


# What the layers of a transformer, and those of a UNet, stand in.
_INNER = frozenset({"blocks", "transformer_blocks", "single_transformer_blocks", "resnets", "temp_convs"})


def _stored_dtype(name: str, tensor: Tensor, dtype: torch.dtype | None, keep_fp32: tuple[str, ...]) -> torch.dtype:
    if not tensor.is_floating_point() or (dtype is None and tensor.dtype not in FP8):
        return tensor.dtype
    dtype = dtype or tensor.dtype
    if any(part in name.split(".") for part in keep_fp32):
        return torch.float32
    if dtype in FP8:
        # Embedders and norms stay out of fp8: their dtype steers the timestep's and activations' dtype, and
        # they are a small share of the weights (host facts: fp8 skips).
        inner = not _INNER.isdisjoint(name.split("."))
        matrix = tensor.ndim >= 2 and name.endswith(".weight") and "norm" not in name
        return dtype if inner and matrix else torch.bfloat16
    return dtype


def _as_dtype(name: str, tensor: Tensor, target: torch.dtype, path: Path, scale: Tensor | None = None) -> Tensor:
    try:
        return cast(tensor, target, scale)
    except OverflowError as error:
        raise ModelFileError(f"{path}: {name} {error}. Load the model with dtype bf16 or fp32.") from error


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
    # Every module of the process registers through the class: other threads' stay real, and another building waits.
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
