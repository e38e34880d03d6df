"""Single files: recognise the family and part, and load it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ..base import FamilyError, Near, Recognised, Shapes, SoundVAE, VideoModel, VideoVAE
from ..base.file_names import expert_in
from ..base.recognise import stated
from ..families import families
from .containers import open_container
from .errors import ModelFileError
from .header import TensorInfo
from .quantised import Quantisation, split_header, split_headers
from .resemblance import LOAD_VAE, PART, resembles
from .shards import shard_set
from .weights import build, extension, fill

# Prefixes of the parts beside the transformer in all-in-one files.
VAE_PREFIXES = ("vae.", "first_stage_model.")
TEXT_PREFIXES = ("text_encoders.", "cond_stage_model.", "conditioner.")
_LOADER_NODES = {"transformer": "Load Video Diffusion Model", "vae": LOAD_VAE, "audio_vae": LOAD_VAE}


@dataclass(frozen=True)
class ModelFile:
    """A file whose parts are recognised; no tensor is read yet.

    Attributes:
        files: the file, or all shards of the model that it is a shard of.
        parts: "transformer", "vae" and "audio_vae", whichever the file holds.
        header: the weights, with the shapes of their numbers.
        text_prefixes: prefixes of the text encoders in the file; none for most files.
    """

    path: Path
    parts: Mapping[str, Recognised]
    header: Mapping[str, TensorInfo]
    quantisation: Quantisation
    text_prefixes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def weights_of(self, part: str) -> dict[str, TensorInfo]:
        """The part of the header that belongs to "transformer", "vae" or "audio_vae", under whole names."""
        prefix = self.parts[part].prefix
        others = () if prefix else (*VAE_PREFIXES, *TEXT_PREFIXES)
        return {n: info for n, info in self.header.items() if n.startswith(prefix) and not n.startswith(others)}

    def part(self, name: str) -> Recognised:
        """
        Args:
            name: "transformer", "vae" or "audio_vae".
        Raises:
            ModelFileError: the file holds other parts only.
        """
        if name in self.parts:
            return self.parts[name]
        have = ", ".join(f"{recognised.variant.title} {part}" for part, recognised in self.parts.items())
        raise ModelFileError(
            f"{self.path}: holds no {name} but {have}. Choose it in {_LOADER_NODES[next(iter(self.parts))]} instead."
        )


def open_file(path: Path, node: str = "", expert: str = "") -> ModelFile:
    """Recognise a file from its header.

    Args:
        node: that is to load it, in the user's words.
        expert: "high" or "low" where the user tells which of two experts it is; "": its name or its folder's does.
    Raises:
        ModelFileError: it cannot be read, other shards of its model are missing, or no family recognises it: with each
            family's reason and what the file looks like.
        families.FamilyError: a variant that its family knows and refuses.
    """
    files = shard_set(path)
    containers = [open_container(file) for file in files]
    header, quantisation = split_headers(containers)
    metadata = containers[0].metadata
    shapes = {name: info.shape for name, info in header.items()}
    parts, reasons = _parts_of(shapes, _telling_name(path, expert), metadata)
    if not parts:
        raise ModelFileError(_nobody(path, shapes, reasons, node))
    stated_type = stated(metadata) if "transformer" in parts else ""
    if stated_type:
        raise FamilyError(
            f"{path.name}: by its metadata this is {stated_type}, which has the tensors of "
            f"{parts['transformer'].variant.title} and is sampled in another way. It is not supported: use ComfyUI's "
            "own Load Diffusion Model, or choose a plain text-to-video or image-to-video model."
        )
    variant = parts["transformer"].variant if "transformer" in parts else None
    if expert and (variant is None or variant.expert != expert or not variant.boundary):
        title = "no transformer" if variant is None else variant.title
        raise FamilyError(
            f"{path.name}: expert is set to {expert}, and this is {title}, which is not one of two experts. Set expert "
            "to auto."
        )
    inside = tuple(prefix for prefix in TEXT_PREFIXES if any(name.startswith(prefix) for name in shapes))
    return ModelFile(path, parts, header, quantisation, inside, files)


def _telling_name(path: Path, expert: str) -> str:
    """The file's name, behind its folder's where only that tells the expert, or behind what the user tells."""
    if expert:
        return f"{expert}_noise/{path.name}"
    whole = f"{path.parent.name}/{path.name}"
    return whole if expert_in(whole) and not expert_in(path.name) else path.name


def _parts_of(shapes: Shapes, name: str, metadata: Mapping[str, str]) -> tuple[dict[str, Recognised], dict[str, str]]:
    """(the recognised networks of a file by part; title of each family that is not in it -> the reason)."""
    parts: dict[str, Recognised] = {}
    reasons: dict[str, str] = {}
    beside = _inside(shapes, "")
    for prefix in ("", *VAE_PREFIXES):
        inner = _inside(shapes, prefix)
        if not inner or (prefix and beside and "transformer" not in parts):
            continue  # no family knows this checkpoint's transformer: report the whole file, not its VAE
        for family in families().values():
            try:
                outcome = family.recognise(inner, name, metadata)
            except FamilyError:
                if not prefix or "transformer" not in parts:
                    raise
                continue  # a VAE that is refused leaves the transformer usable
            if isinstance(outcome, Recognised):
                parts.setdefault(outcome.part, replace(outcome, prefix=prefix + outcome.prefix))
            elif not prefix:
                reasons[family.title] = outcome
    for family in families().values() if beside else ():
        part = family.recognition.beside(beside, name)
        if part is not None:
            parts.setdefault(part.part, part)
    return parts, reasons


def load_model(
    file: ModelFile,
    dtype: torch.dtype | None,
    on_progress: Callable[[int, int], None] | None = None,
    rope_layout: str = "auto",
    keeps_packed: bool = False,
    beside: Path | None = None,
) -> VideoModel:
    """The transformer of a file, strictly: every name and shape is compared before the first tensor is read.

    Args:
        dtype: storage dtype; None keeps the file's own, packed weights multiplied out to bf16.
        on_progress: called with (bytes read, bytes in all).
        rope_layout: one of the file's `rope_layouts`; "auto" is the likely one.
        keeps_packed: as `fill`.
        beside: a file with the parts of the network that this one lacks, see `Recognition.complete`.
    Raises:
        ModelFileError: the file holds no transformer, or not all of it, or has no such rope layout.
    """
    recognised = file.part("transformer")
    rules = recognised.rules if rope_layout == "auto" else recognised.rope_layouts.get(rope_layout)
    if rules is None:
        known = ", ".join(["auto", *recognised.rope_layouts])
        raise ModelFileError(
            f"{file.path}: {recognised.variant.title} has no rope layout {rope_layout!r} (it has: {known}). Set "
            "rope_layout to auto."
        )
    complete = recognised.variant.family.recognition.complete
    if complete is not None:
        recognised = complete(replace(recognised, rules=rules), None if beside is None else _shapes(beside))
        rules = recognised.rules
    elif beside is not None:
        raise ModelFileError(
            f"{recognised.variant.title} lies whole in its file and needs no second one. Set connectors to none."
        )
    module = _module(file, recognised, extension(recognised.variant))
    fill(
        module,
        file.files if beside is None else (*file.files, beside),
        dtype=dtype or (torch.bfloat16 if file.quantisation.layers else None),
        rules=rules,
        prefix=recognised.prefix,
        from_folder=False,
        on_bytes=on_progress,
        keeps_packed=keeps_packed,
    )

    def again() -> VideoModel:
        return load_model(file, dtype, rope_layout=rope_layout, keeps_packed=keeps_packed, beside=beside)

    return VideoModel(recognised.variant, module, file.path, again)


def load_vae(
    file: ModelFile, dtype: torch.dtype | None, on_progress: Callable[[int, int], None] | None = None
) -> VideoVAE:
    """The VAE of a file, layers in few bits as they are stored; arguments and errors as `load_model`."""
    recognised, module = _built(file, "vae", dtype, on_progress)
    return VideoVAE(recognised.variant, module, file.path, lambda: load_vae(file, dtype))


def load_sound_vae(
    file: ModelFile, dtype: torch.dtype | None, on_progress: Callable[[int, int], None] | None = None
) -> SoundVAE:
    """The audio VAE of a file; arguments and errors as `load_model`."""
    recognised, module = _built(file, "audio_vae", dtype, on_progress)
    return SoundVAE(recognised.variant, module, file.path, lambda: load_sound_vae(file, dtype))


def _built(
    file: ModelFile, part: str, dtype: torch.dtype | None, on_progress: Callable[[int, int], None] | None
) -> tuple[Recognised, nn.Module]:
    recognised = file.part(part)
    module = _module(file, recognised, recognised.extend)
    fill(
        module,
        file.files,
        dtype=dtype,
        rules=recognised.rules,
        prefix=recognised.prefix,
        from_folder=False,
        on_bytes=on_progress,
        keeps_packed=True,
        keeps_convolutions=True,
    )
    return recognised, module


def _module(file: ModelFile, recognised: Recognised, extend: Callable[[nn.Module], None] | None = None) -> nn.Module:
    try:
        return build(recognised.class_name, recognised.config, extend)
    except (ValueError, TypeError, ArithmeticError, LookupError, RuntimeError) as error:
        raise ModelFileError(
            f"{file.path}: looks like {recognised.variant.title}, and no such network has these sizes ({error}). The "
            "file is damaged, or a variant that this version does not know."
        ) from error


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    return {name: info.shape for name, info in split_header(open_container(path))[0].items()}


def _inside(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> dict[str, tuple[int, ...]]:
    """The names behind a prefix; behind none, those that belong to no other part."""
    if prefix:
        return {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}
    others = (*VAE_PREFIXES, *TEXT_PREFIXES)
    return {name: shape for name, shape in shapes.items() if not name.startswith(others)}


def _nobody(path: Path, shapes: Mapping[str, tuple[int, ...]], reasons: Mapping[str, str], node: str) -> str:
    near = next((reason for reason in reasons.values() if isinstance(reason, Near)), None)
    if near is not None:
        return (
            f"{path}: the file does not hold this model whole. {near.wrong}. It looks like "
            f"{near.recognised.variant.title}: "
            "the download is not complete, or the file is a variant that this version does not know."
        )
    looks = resembles(shapes, node)
    if looks.startswith(PART):
        return f"{path}: this is {looks}."
    first = next(iter(shapes), "none")
    lines = [f"{path}: no family recognises this file ({len(shapes)} tensors, first {first})."]
    lines += [f"  {title}: {reason}" for title, reason in reasons.items()]
    if looks:
        lines.append(f"It looks like {looks}.")
    return "\n".join(lines)
