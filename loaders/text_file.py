"""Text encoders in single files: their kind and tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..base import Shapes, TextEncoder, TextEncoderKind, TextLayout, Variant
from ..base.keys import is_read, unwrapped
from ..families.text import text_encoders
from .containers import open_container
from .containers.gguf import GGUFFile
from .errors import ModelFileError
from .gguf_tokenizer import TOKENIZER_KINDS, tokenizer_kind
from .header import TensorInfo
from .quantised import Quantisation, split_header, split_headers
from .resemblance import LOAD_TEXT_ENCODER, resembles
from .shards import shard_set
from .tokenizers import FindTokenizer, tokenizer_of
from .weights import build, check, fill

# Most levels that ComfyUI and trainers put before an encoder's own names: "conditioner.embedders.0.transformer.".
_DEPTH = 4


@dataclass(frozen=True)
class TextFile:
    """A recognised text encoder.

    Attributes:
        prefix: what the encoder's names start with: "text_encoders.umt5xxl.transformer." in an all-in-one file.
        tokenizer: whole name of the tensor with its tokenizer, "" where the file has none.
        carries_tokenizer: in that tensor, or in the metadata of a GGUF file.
        weights: its part of the file's header, under whole names.
        files: the file, or all shards of the model that it is a shard of.
    """

    path: Path
    kind: TextEncoderKind
    layout: TextLayout
    prefix: str = ""
    tokenizer: str = ""
    carries_tokenizer: bool = False
    weights: Mapping[str, TensorInfo] = field(default_factory=dict, repr=False)
    quantisation: Quantisation = field(default_factory=Quantisation, repr=False)
    files: tuple[Path, ...] = ()


def open_text_file(path: Path, prefix: str = "") -> TextFile:
    """The first text encoder that `open_text_files` finds; arguments and errors as there."""
    return open_text_files(path, (prefix,))[0]


def open_text_files(path: Path, prefixes: Sequence[str] = ("",)) -> tuple[TextFile, ...]:
    """Recognise the text encoders of a file from its header.

    Args:
        prefixes: what the names of text encoders may start with; up to four more levels may stand behind them, as
            in ComfyUI's own checkpoints ("text_encoders.umt5xxl.transformer.").
    Raises:
        ModelFileError: it cannot be read, other shards of its model are missing, or it holds no text encoder that this
            pack knows.
    """
    files = shard_set(path)
    containers = [open_container(shard) for shard in files]
    header, quantisation = split_headers(containers)
    file = containers[0]
    in_metadata = isinstance(file, GGUFFile) and tokenizer_kind(file) in TOKENIZER_KINDS
    shapes = {unwrapped(name): info.shape for name, info in header.items() if name.startswith(tuple(prefixes))}
    encoders: list[TextFile] = []
    for prefix in _levels(shapes, prefixes):
        if any(prefix.startswith(encoder.prefix) for encoder in encoders):
            continue
        inside = {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}
        for kind, layout in _kinds_in(inside):
            tokenizer = _tokenizer(kind, prefix, shapes)
            weights = {
                name: info
                for name, info in header.items()
                if name.startswith(prefix) and name != tokenizer and is_read(name, layout.rules, prefix)
            }
            carries = bool(tokenizer) or (in_metadata and kind.reads_prompts)
            encoders.append(TextFile(path, kind, layout, prefix, tokenizer, carries, weights, quantisation, files))
    if encoders:
        return tuple(encoders)
    *others, last = (title for kind in text_encoders().values() for title in kind.published)
    looks = resembles(shapes, LOAD_TEXT_ENCODER)
    raise ModelFileError(
        f"{path}: no text encoder this pack knows ({len(shapes)} tensors, first {next(iter(shapes), 'none')}). "
        f"Expected {', '.join(others)} or {last}." + (f" It looks like {looks}." if looks else "")
    )


def _kinds_in(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[TextEncoderKind, TextLayout]]:
    """The kind of text encoder that has these tensors and that of the layer behind it, each with its layout."""
    kinds: list[tuple[TextEncoderKind, TextLayout]] = []
    for reads_prompts in (True, False):
        for kind in text_encoders().values():
            layout = _recognised(kind, shapes) if kind.reads_prompts is reads_prompts else None
            if layout is not None:
                kinds.append((kind, layout))
                break
    return kinds


def find_text(path: Path) -> tuple[TextFile, ...]:
    """The text encoders in a file, if any, under the names that they have in a file of their own."""
    header, _ = split_header(open_container(path))
    shapes = {unwrapped(name): info.shape for name, info in header.items()}
    return open_text_files(path) if _kinds_in(shapes) else ()


def _levels(names: Iterable[str], prefixes: Sequence[str]) -> list[str]:
    """The prefixes, and those with up to four levels more that occur in the names; the shortest first."""
    levels = dict.fromkeys(prefixes)
    for name in names:
        prefix = max((prefix for prefix in prefixes if name.startswith(prefix)), key=len)
        segments = name[len(prefix) :].split(".")[:-1]
        levels |= dict.fromkeys(prefix + "".join(f"{s}." for s in segments[:n]) for n in range(1, _DEPTH + 1))
    return sorted(levels, key=lambda level: level.count("."))


def _recognised(kind: TextEncoderKind, shapes: Shapes) -> TextLayout | None:
    """The layout of a kind's encoder; None also where a damaged header only begins like one."""
    try:
        return kind.recognise(shapes)
    except (KeyError, ValueError, IndexError, TypeError, ArithmeticError):
        return None


def _tokenizer(kind: TextEncoderKind, prefix: str, names: Container[str]) -> str:
    """The tokenizer's tensor beside an encoder's or on a level above them, where ComfyUI saves it."""
    name = kind.spiece or kind.tokenizer_json
    while name:
        if prefix + name in names:
            return prefix + name
        if not prefix:
            return ""
        prefix = prefix[: prefix[:-1].rfind(".") + 1]
    return ""


def load_text(
    files: Sequence[TextFile],
    variant: Variant,
    dtype: torch.dtype | None,
    find_tokenizer: FindTokenizer,
    on_progress: Callable[[int, int], None] | None = None,
) -> TextEncoder:
    """The text encoders of a model, checked against what its family reads before a tensor is read.

    Args:
        find_tokenizer: for files that carry none.
        dtype: storage dtype; layers in few bits stay as the file stores them.
        on_progress: called with (bytes read, bytes in all).
    Raises:
        ModelFileError: an encoder that is missing, not this family's or of the wrong width; no tokenizer anywhere.
    """
    chosen = match_text(files, variant)
    tokenizers = {
        slot: tokenizer_of(
            file.path,
            file.tokenizer,
            file.kind.class_name,
            file.layout.config["vocab_size"],
            find_tokenizer,
            file.kind.marks,
            is_json=bool(file.kind.tokenizer_json),
        )
        for slot, file in chosen.items()
        if file.kind.reads_prompts
    }
    modules = {slot: build(file.kind.class_name, file.layout.config, file.kind.extend) for slot, file in chosen.items()}
    rules = {slot: (*file.layout.rules, *file.kind.older_names(modules[slot])) for slot, file in chosen.items()}
    sizes = {}
    for slot, file in chosen.items():
        sizes[slot] = check(modules[slot], file.files, file.kind.tied, rules[slot], file.prefix, False)
    total, before = sum(sizes.values()), 0
    for slot, file in chosen.items():

        def tick(done: int, _: int, offset: int = before) -> None:
            if on_progress:
                on_progress(offset + done, total)

        fill(
            modules[slot],
            file.files,
            dtype=dtype,
            tied=file.kind.tied,
            rules=rules[slot],
            prefix=file.prefix,
            from_folder=False,
            on_bytes=tick,
            keeps_packed=True,
        )
        before += sizes[slot]
    return TextEncoder(
        variant, modules, tokenizers, files[0].path, lambda: load_text(files, variant, dtype, find_tokenizer)
    )


def match_text(files: Sequence[TextFile], variant: Variant) -> dict[str, TextFile]:
    """Slot -> file, by class and width.

    Raises:
        ModelFileError: a slot without a file, a file without a slot, or the wrong width.
    """
    expected = wanted_kinds(variant)
    chosen: dict[str, TextFile] = {}
    for file in files:
        slot = next((s for s, kind in expected.items() if file.kind == kind and s not in chosen), None)
        if slot is None:
            raise ModelFileError(
                f"{file.path}: is {file.layout.title}, which {variant.title} does not read. {_advice(variant)}"
            )
        chosen[slot] = file
    missing = [slot for slot, kind in expected.items() if slot not in chosen and not kind.is_vision]
    if missing:
        have = " and ".join(file.layout.title for file in files)
        count = sum(not kind.is_vision for kind in expected.values())
        if count == 1:
            raise ModelFileError(f"{variant.title} needs a language model beside {have}. {_advice(variant)}")
        raise ModelFileError(f"{variant.title} reads {count} text encoders and found {have} only. {_advice(variant)}")
    # The first encoder's embedding is the context, or that of the layer behind it; a vision tower's stands among it.
    behind = [file for file in chosen.values() if not file.kind.reads_prompts and not file.kind.is_vision]
    context = behind[-1] if behind else chosen[variant.prompts[0].slot]
    for file in (context, *(file for file in chosen.values() if file.kind.is_vision)):
        if variant.context_width and file.layout.width != variant.context_width:
            raise ModelFileError(
                f"{file.path}: is {file.layout.title}, {file.layout.width} wide; {variant.title} reads "
                f"{variant.context_width}. {_advice(variant)}"
            )
    return chosen


def wanted_kinds(variant: Variant) -> dict[str, TextEncoderKind]:
    """Slot -> kind of each encoder that the model reads: one for each prompt, and the layers behind them."""
    encoders = variant.family.text.encoders if variant.family.text else {}
    kinds = {prompt.slot: encoders[prompt.slot] for prompt in variant.prompts if prompt.slot in encoders}
    return {**kinds, **{slot: kind for slot, kind in encoders.items() if not kind.reads_prompts}}


def _advice(variant: Variant) -> str:
    named = variant.pairs.get("text_encoders")
    return f"Choose {named}." if named else "Choose the text encoder that came with the model."
