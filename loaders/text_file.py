"""Text encoders in single files: their kind and tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..base import TextEncoder, TextEncoderKind, TextLayout, Variant
from ..families.text import text_encoders
from .containers import open_container
from .errors import ModelFileError
from .quantised import split_header
from .resemblance import resembles
from .tokenizers import tokenizer_of
from .weights import build, check, fill


@dataclass(frozen=True)
class TextFile:
    """A recognised text encoder.

    Attributes:
        prefix: what the encoder's names start with in an all-in-one file.
    """

    path: Path
    kind: TextEncoderKind
    layout: TextLayout
    prefix: str = ""


def open_text_file(path: Path, prefix: str = "") -> TextFile:
    """Recognise a text encoder from its header, or the one behind a prefix of an all-in-one file.

    Raises:
        ModelFileError: it cannot be read, or it is none this pack knows.
    """
    header, _ = split_header(open_container(path))
    shapes = {name[len(prefix) :]: info.shape for name, info in header.items() if name.startswith(prefix)}
    for kind in text_encoders().values():
        layout = kind.recognise(shapes)
        if layout is not None:
            return TextFile(path, kind, layout, prefix)
    *others, last = (title for kind in text_encoders().values() for title in kind.published)
    looks = resembles(shapes)
    raise ModelFileError(
        f"{path}: no text encoder this pack knows ({len(shapes)} tensors, first {next(iter(shapes), 'none')}). "
        f"Expected {', '.join(others)} or {last}." + (f" It looks like {looks}." if looks else "")
    )


def load_text(
    files: Sequence[TextFile],
    variant: Variant,
    dtype: torch.dtype | None,
    find_tokenizer: Callable[[str], Path | None],
    on_progress: Callable[[int, int], None] | None = None,
) -> TextEncoder:
    """The text encoders of a model, checked against what its family reads before a tensor is read.

    Args:
        find_tokenizer: class of an encoder -> a folder with its tokenizer, for files that carry none.
        on_progress: called with (tensors read, tensors in all).
    Raises:
        ModelFileError: an encoder that is missing, not this family's or of the wrong width; no tokenizer anywhere.
    """
    chosen = match_text(files, variant)
    tokenizers = {
        slot: tokenizer_of(
            file.path,
            file.prefix + file.layout.spiece if file.layout.spiece else "",
            file.kind.class_name,
            find_tokenizer,
        )
        for slot, file in chosen.items()
    }
    modules = {slot: build(file.kind.class_name, file.layout.config) for slot, file in chosen.items()}
    rules = {slot: (*file.layout.rules, *file.kind.older_names(modules[slot])) for slot, file in chosen.items()}
    counts = {}
    for slot, file in chosen.items():
        counts[slot] = check(modules[slot], (file.path,), file.kind.tied, rules[slot], file.prefix, False)
    total, before = sum(counts.values()), 0
    for slot, file in chosen.items():

        def tick(done: int, _: int, offset: int = before) -> None:
            if on_progress:
                on_progress(offset + done, total)

        fill(
            modules[slot],
            (file.path,),
            dtype=dtype,
            tied=file.kind.tied,
            rules=rules[slot],
            prefix=file.prefix,
            from_folder=False,
            on_tensor=tick,
        )
        before += counts[slot]
    return TextEncoder(
        variant, modules, tokenizers, files[0].path, lambda: load_text(files, variant, dtype, find_tokenizer)
    )


def match_text(files: Sequence[TextFile], variant: Variant) -> dict[str, TextFile]:
    """Slot -> file, by class and width.

    Raises:
        ModelFileError: a slot without a file, a file without a slot, or the wrong width.
    """
    encoders = variant.family.text.encoders if variant.family.text else {}
    expected = {prompt.slot: encoders[prompt.slot] for prompt in variant.prompts if encoders}
    chosen: dict[str, TextFile] = {}
    for file in files:
        slot = next((s for s, kind in expected.items() if file.kind == kind and s not in chosen), None)
        if slot is None:
            raise ModelFileError(
                f"{file.path}: is {file.layout.title}, which {variant.title} does not read. {_advice(variant)}"
            )
        chosen[slot] = file
    missing = [slot for slot in expected if slot not in chosen]
    if missing:
        have = " and ".join(file.layout.title for file in files)
        raise ModelFileError(
            f"{variant.title} reads {len(expected)} text encoders and found {have} only. {_advice(variant)}"
        )
    first = chosen[variant.prompts[0].slot]
    if variant.context_width and first.layout.width != variant.context_width:
        raise ModelFileError(
            f"{first.path}: is {first.layout.title}, {first.layout.width} wide; {variant.title} reads "
            f"{variant.context_width}. {_advice(variant)}"
        )
    return chosen


def _advice(variant: Variant) -> str:
    named = variant.pairs.get("text_encoders")
    return f"Choose {named}." if named else "Choose the text encoder that came with the model."
