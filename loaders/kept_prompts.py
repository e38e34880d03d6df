"""Encoded prompts on disk, so that a text encoder need not be loaded for words that it has read before.

Each prompt is one safetensors file, written whole or not at all. ComfyUI has no format of its own for a CONDITIONING
without pickle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .tensor_file import tensor_bytes, write_tensors

# Goes up whenever a prompt is encoded to other numbers than before: kept prompts of older versions do not count then.
ENCODING = 1
# Of all kept prompts together. Those that nobody has asked for longest are removed beyond it.
MOST_BYTES = 8 << 30
_TAG, _ENDING = "opent2v_prompt", ".safetensors"


@dataclass(frozen=True)
class KeptPrompt:
    """A prompt as its text encoder gave it.

    Attributes:
        conditioning: CONDITIONING, [[context [B, L, D], dictionary], ...].
        limit, count: tokens that the encoder reads, tokens of the whole prompt; both 0 where it does not say.
    """

    conditioning: list[list[Any]]
    limit: int
    count: int


class KeptPrompts:
    """A folder of encoded prompts, which several processes may use at the same time.

    Args:
        identity: of the text encoder, see `TextEncoder.identity`.
    """

    def __init__(self, folder: Path, identity: str, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._identity, self._most_bytes = folder, identity, most_bytes

    def key(self, text: str, shown: Sequence[tuple[str, Tensor | None]] = ()) -> str:
        """The name of a prompt's file.

        Args:
            shown: (kind, frames) of what the prompt shows beside its words.
        """
        digest = sha256(f"{ENCODING}\0{_transformers()}\0{self._identity}\0{text}".encode("utf-8", "surrogatepass"))
        for kind, frames in shown:
            digest.update(f"\0{kind} {frames if frames is None else (frames.dtype, tuple(frames.shape))} ".encode())
            digest.update(b"" if frames is None else tensor_bytes(frames))
        return digest.hexdigest()

    def get(self, key: str) -> KeptPrompt | None:
        """The prompt of this key; None where it is not there or its file is damaged."""
        from safetensors import SafetensorError, safe_open

        path = self._folder / f"{key}{_ENDING}"
        try:
            with safe_open(path, "pt") as file:
                record = json.loads((file.metadata() or {})[_TAG])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            if record["key"] != key or record["sha256"] != _digest(tensors):
                return None
            conditioning = [_entry(tensors, n, entry) for n, entry in enumerate(record["entries"])]
            prompt = KeptPrompt(conditioning, int(record["limit"]), int(record["count"]))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError):
            return None
        with suppress(OSError):  # another process may have removed it
            os.utime(path)
        return prompt

    def put(self, key: str, prompt: KeptPrompt) -> bool:
        """Keep a prompt; False where it holds something that no file can.

        Raises:
            OSError: the folder cannot be written to.
        """
        tensors: dict[str, Tensor] = {}
        entries: list[dict[str, Any]] = []
        for n, (context, values) in enumerate(prompt.conditioning):
            named = {"context": context, **{f"value {name}": value for name, value in values.items()}}
            plain = {name: value for name, value in values.items() if not isinstance(value, Tensor)}
            if json.loads(json.dumps(plain, default=str)) != plain:
                return False
            dtypes: dict[str, str] = {}
            for name, value in named.items():
                if isinstance(value, Tensor):
                    dtypes[name] = str(value.dtype).removeprefix("torch.")
                    tensors[f"{n} {name}"] = _narrowed(value.detach().cpu())
            entries.append({"plain": plain, "dtypes": dtypes, "order": list(values)})
        record = {"key": key, "sha256": _digest(tensors), "entries": entries}
        record |= {"limit": prompt.limit, "count": prompt.count}
        write_tensors(self._folder / f"{key}{_ENDING}", tensors, {_TAG: json.dumps(record)})
        self._trim()
        return True

    def _trim(self) -> None:
        """Remove what was not asked for longest, until all is small enough."""
        files: list[tuple[float, int, Path]] = []
        for path in self._folder.glob(f"*{_ENDING}"):
            with suppress(OSError):
                state = path.stat()
                files.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._most_bytes:
                return
            with suppress(OSError):
                path.unlink()
            total -= size


def _entry(tensors: Mapping[str, Tensor], n: int, entry: Mapping[str, Any]) -> list[Any]:
    values = {name: tensors[f"{n} {name}"].to(getattr(torch, dtype)) for name, dtype in entry["dtypes"].items()}
    context = values.pop("context")
    rest = {name.removeprefix("value "): value for name, value in values.items()} | entry["plain"]
    return [context, {name: rest[name] for name in entry["order"]}]


def _narrowed(value: Tensor) -> Tensor:
    """The same numbers, in two bytes each where that loses nothing: encoders that compute in bf16 give such."""
    if value.dtype == torch.float32:
        for dtype in (torch.bfloat16, torch.float16):
            narrow = value.to(dtype)
            if torch.equal(narrow.float(), value):
                return narrow
    return value


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)} ".encode())
        digest.update(tensor_bytes(tensors[name]))
    return digest.hexdigest()


def _transformers() -> str:
    """The version of the library that computes the encoders, which may change their numbers."""
    try:
        return version("transformers")
    except PackageNotFoundError:
        return ""
