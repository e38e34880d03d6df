"""Files below a folder, behind links too, as ComfyUI lists them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def files_below(root: Path, is_whole: Callable[[Path], bool] = lambda _: False) -> Iterator[Path]:
    """Every file below a folder, by folder and name; links are followed, each folder once on a path.

    Args:
        is_whole: (folder) whether the folders below it are parts of it, which are not walked.
    """
    yield from _below(root, is_whole, ())


def _below(folder: Path, is_whole: Callable[[Path], bool], above: tuple[str, ...]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        return  # a link to a folder that it lies in
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return  # gone, or not ours to read
    folders = [Path(entry.path) for entry in entries if entry.is_dir() and entry.name != ".git"]
    yield from (Path(entry.path) for entry in entries if entry.is_file())
    for inner in () if is_whole(folder) else folders:
        yield from _below(inner, is_whole, (*above, real))
