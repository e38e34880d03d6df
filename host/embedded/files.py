"""Files below the model folders, and outputs that are not there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...base.walk import files_below
from .place import model_roots

# File name extensions that ComfyUI lists in its model folders.
_ENDINGS = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl")


@dataclass(frozen=True)
class Missing:
    """A placeholder for an output that a node could not make; the runner raises the message where it is needed."""

    message: str


def model_files(kind: str, endings: tuple[str, ...] = ()) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for root in model_roots(kind):
        for path in sorted(files_below(root)):
            if path.suffix.lower() in (*_ENDINGS, *endings):
                by_name.setdefault(path.relative_to(root).as_posix(), path)
    return by_name


def tokenizer_folder(class_name: str) -> Path | None:
    """This host ships no tokenizers."""
    return None


def missing(message: str) -> Any:
    """The run stops with the message at the first node that needs it."""
    return Missing(message)
