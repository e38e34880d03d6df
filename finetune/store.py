"""Latents and prompts on disk, each under the hash of what it was computed from.

An entry is written under another name first, so that a stopped pass leaves whole entries only; the next one goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

from ..loaders.tensor_file import write_tensors

# Raised when what is stored for the same key changes.
_VERSION = 1
_PIECE = 2**22


class Store:
    """
    Args:
        folder: is made where it is not there.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._index = folder / "files.json"
        self._digests: dict[str, list[Any]] = _read_json(self._index)

    def has(self, key: str) -> bool:
        return self._path(key).is_file()

    def get(self, key: str) -> dict[str, Any]:
        """What `put` stored: texts, numbers, None, tensors, and lists of tensors."""
        from safetensors import safe_open

        with safe_open(self._path(key), "pt") as file:
            values = json.loads(file.metadata()["values"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        for name, tensor in tensors.items():
            owner, _, number = name.partition("/")
            if number:
                values.setdefault(owner, []).append((int(number), tensor))
            else:
                values[owner] = tensor
        listed = {name: value for name, value in values.items() if isinstance(value, list)}
        return values | {name: [tensor for _, tensor in sorted(value, key=_number)] for name, value in listed.items()}

    def put(self, key: str, values: Mapping[str, Any]) -> None:
        """
        Raises:
            TypeError: a value is of another kind.
        """
        tensors: dict[str, Tensor] = {}
        plain: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[name] = value
            elif isinstance(value, list) and value and all(isinstance(item, Tensor) for item in value):
                tensors |= {f"{name}/{n}": item for n, item in enumerate(value)}
            elif value is None or isinstance(value, str | bool | int | float):
                plain[name] = value
            else:
                raise TypeError(f"{name} is {type(value).__name__}, which no entry holds")
        write_tensors(self._path(key), tensors, {"values": json.dumps(plain)})

    def digest(self, path: Path) -> str:
        """Hash of a file's content; a file of the same size and time is not read again."""
        state, name = path.stat(), str(path.resolve())
        known = self._digests.get(name)
        if known is None or known[:2] != [state.st_size, state.st_mtime_ns]:
            digest = sha256()
            with path.open("rb") as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
            known = self._digests[name] = [state.st_size, state.st_mtime_ns, digest.hexdigest()]
        return known[2]

    def save_digests(self) -> None:
        temporary = self._index.with_suffix(".tmp")
        temporary.write_text(json.dumps(self._digests), encoding="utf-8")
        os.replace(temporary, self._index)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


def key_of(*parts: Any) -> str:
    """The key of what is computed from these texts and numbers."""
    return sha256(json.dumps([_VERSION, *parts]).encode()).hexdigest()[:32]


def _number(item: tuple[int, Tensor]) -> int:
    return item[0]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
