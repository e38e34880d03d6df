"""Loader nodes that name the same files share one model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from ..base.file_names import SHARD
from ..base.walk import files_below
from ..loaders.lora import sidecars

# (files and settings, part) -> MODEL, CLIP or VAE. Weak references: a model lives as long as some node holds it.
_loaded: WeakValueDictionary[tuple[str, ...], Any] = WeakValueDictionary()


def files_state(path: Path) -> str:
    """A short text that changes with name, size or time of the file, its shards, or a file below the folder."""
    files = list(files_below(path)) if path.is_dir() else [*shards_of(path), *sidecars(path)]
    states = [f"{file.relative_to(path.parent)} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return sha256("\n".join(states).encode()).hexdigest()[:16]


def shards_of(path: Path) -> list[Path]:
    """The files that one of several belongs to, by their names; any other file alone."""
    shard = SHARD.search(path.name)
    if shard is None:
        return [path]
    begin, end = path.name[: shard.start()], path.name[shard.end() :]
    names = re.compile(re.escape(begin) + SHARD.pattern + re.escape(end))
    return sorted(file for file in path.parent.iterdir() if names.fullmatch(file.name) and file.is_file())


def shared(key: Sequence[str], names: Sequence[str], make: Callable[[], Sequence[Any]]) -> dict[str, Any]:
    """The parts of these names; if one no longer exists, `make` is called for all of them.

    Args:
        key: the path, its `files_state`, and everything else that makes one loaded model differ from another.
    """
    parts = [_loaded.get((*key, name)) for name in names]
    if any(part is None for part in parts):
        parts = list(make())
        _loaded.update({(*key, name): part for name, part in zip(names, parts, strict=True)})
    return dict(zip(names, parts, strict=True))
