"""Where ComfyUI keeps files, and outputs that are not there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import comfy.sd1_clip
import folder_paths
from comfy_execution.graph_utils import ExecutionBlocker

from ...families.text import text_encoders

# A models folder -> the files below it, and when each of its folders last changed.
_listed: dict[str, tuple[list[str], dict[str, float]]] = {}


def model_files(kind: str, endings: tuple[str, ...] = ()) -> dict[str, Path]:
    try:
        names = folder_paths.get_filename_list(kind)
    except KeyError:
        return {}
    paths = {name: folder_paths.get_full_path(kind, name) for name in names}
    files = {name: Path(path) for name, path in paths.items() if path}
    # ComfyUI lists by one set of endings for every pack, which stays as it is.
    for root in folder_paths.get_folder_paths(kind) if endings else ():
        for name in folder_paths.filter_files_extensions(_below(root), endings):
            files.setdefault(name, Path(root, name))
    return dict(sorted(files.items()))


def _below(root: str) -> list[str]:
    """The names of all files below a models folder, read anew where one of its folders has changed."""
    names, folders = _listed.get(root, ([], {}))
    if not folders or any(_changed_at(folder) != time for folder, time in folders.items()):
        names, folders = _listed[root] = folder_paths.recursive_search(root, excluded_dir_names=[".git"])
    return names


def _changed_at(folder: str) -> float:
    try:
        return os.path.getmtime(folder)
    except OSError:  # removed
        return 0.0


def tokenizer_folder(class_name: str) -> Path | None:
    kind = text_encoders().get(class_name)
    folder = Path(comfy.sd1_clip.__file__).parent / kind.host_tokenizer if kind and kind.host_tokenizer else None
    has_vocabulary = folder and any((folder / n).is_file() for n in ("tokenizer.json", "vocab.json"))
    return folder if has_vocabulary else None


def missing(message: str) -> Any:
    return ExecutionBlocker(message)
