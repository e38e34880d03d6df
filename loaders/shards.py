"""The files of one network: those of a diffusers folder's component, or all shards of one that the user chooses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..base.file_names import SHARD, is_shard
from .containers import endings
from .errors import ModelFileError

STEMS = ("diffusion_pytorch_model", "model")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_STEM = f"(?P<stem>{'|'.join(STEMS)})"
# diffusers has put the variant's name in each of these places: model.safetensors.index.fp16.json.
_INDEX = re.compile(rf"{_STEM}(?:\.(\w+))?\.safetensors(?:\.(\w+))?\.index(?:\.(\w+))?\.json")
_SHARD = re.compile(rf"{_STEM}(?:\.(\w+))?-(?P<number>\d+)-of-(?P<count>\d+)(?:\.(\w+))?\.safetensors")
_FILE = re.compile(rf"{_STEM}(?:\.([\w-]+))?\.safetensors")
_PREFERRED = ("", "bf16", "fp16")


class _Incomplete(ModelFileError):
    """Shards are missing."""


def shard_set(path: Path) -> tuple[Path, ...]:
    """All shards of the model that a safetensors file is a shard of, in their order; any other file alone.

    A GGUF in parts is one container, whichever part is opened.

    Raises:
        ModelFileError: shards are missing.
    """
    shard = SHARD.search(path.name)
    if shard is None or not is_shard(path.name) or path.suffix.lower() == ".gguf":
        return (path,)
    try:
        return tuple(path.parent / name for name in _numbers(path.parent, shard, path.name))
    except _Incomplete as error:
        raise ModelFileError(
            f"{path}: is one of several shards of a model. {error} Put all of them into this folder, or get the model "
            "as one file."
        ) from None


def refuse_shard(path: Path) -> None:
    """
    Raises:
        ModelFileError: by its name the file is one of several that make one model. Those of a GGUF are read together.
    """
    shard = SHARD.search(path.stem)
    if shard is None or not is_shard(path.stem) or path.suffix.lower() == ".gguf":
        return
    part, count = int(shard["number"]), int(shard["count"])
    raise ModelFileError(
        f"{path}: is part {part} of {count} of a model. Such shards are no model alone: put the whole "
        "diffusers folder into models/diffusers and use Load Video Model, or get the model as one file."
    )


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The component's files: one, or all shards in their order. Behind safetensors files comes a lone file of any name.

    Of several variants the plain one comes first, then bf16, fp16 and the others; one that is not whole is passed over
    for a whole one, since a download of one variant often brings the indexes of all.

    Raises:
        ModelFileError: there are none, shards are missing, or an index is damaged.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    refusal: _Incomplete | None = None
    for _, files in sorted(_candidates(folder, names), key=lambda candidate: candidate[0]):
        try:
            return tuple(folder / name for name in files())
        except _Incomplete as error:
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    for ending in endings():
        lone = [name for name in names if name.lower().endswith(ending)]
        if len(lone) == 1:
            return (folder / lone[0],)
    pickles = [name for name in names if name.endswith(PICKLES)]
    if pickles:
        raise ModelFileError(
            f"{folder}: has {pickles[0]}, a pickle, but no safetensors file. Pickles can run code and are not "
            "opened. Get the safetensors version of this model."
        )
    raise ModelFileError(
        f"{folder}: no weights in it. Expected {STEMS[0]}.safetensors or {STEMS[1]}.safetensors, also of a variant "
        "(.fp16.safetensors), or all their shards."
    )


def read_json(path: Path) -> dict[str, Any]:
    """
    Raises:
        ModelFileError: the file is missing, cannot be read or holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFileError(f"{path}: the file is missing. The download is not complete: get it too.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: cannot be read as JSON ({error}). Get the file again.") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"{path}: expected a JSON object, found {type(content).__name__}.")
    return content


# (what is tried first: variant, way of storing, stem; a function that gives the names of the files)
_Candidate = tuple[tuple[int, str, int, int], Callable[[], list[str]]]


def _candidates(folder: Path, names: Sequence[str]) -> list[_Candidate]:
    candidates: dict[tuple[int, str, int, int], Callable[[], list[str]]] = {}
    for name in names:
        for way, pattern in enumerate((_INDEX, _SHARD, _FILE)):
            match = pattern.fullmatch(name)
            if match is None:
                continue
            named = match.groupdict()
            variant = next((text for text in match.groups() if text and text not in named.values()), "")
            rank = _PREFERRED.index(variant) if variant in _PREFERRED else len(_PREFERRED)
            files = [partial(_indexed, folder / name), partial(_numbers, folder, match, name), partial(list, [name])][
                way
            ]
            # A file that stands alone counts more than shards without an index.
            candidates.setdefault((rank, variant, (0, 2, 1)[way], STEMS.index(named["stem"])), files)
            break
    return list(candidates.items())


def _indexed(index: Path) -> list[str]:
    """The files that an index of shards names, all of which are there."""
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise ModelFileError(f"{index}: has no weight_map. Get the file again.")
    names = sorted(set(shards.values()))
    # Shards must lie in this very folder: a name with a path in it could point anywhere.
    odd = [name for name in names if Path(name).name != name or name in ("", "..")]
    if odd:
        raise ModelFileError(f"{index}: names {odd[0]!r}, which is not a plain file name.")
    return _whole(index.parent, names)


def _numbers(folder: Path, shard: re.Match[str], name: str) -> list[str]:
    """All shards of one whose name says how many there are."""
    (first, last), width = shard.span("number"), len(shard["number"])
    count = min(int(shard["count"]), 10_000)
    return _whole(folder, [f"{name[:first]}{n:0{width}}{name[last:]}" for n in range(1, count + 1)])


def _whole(folder: Path, names: list[str]) -> list[str]:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise _Incomplete(
            f"{folder}: {len(missing)} of {len(names)} shards are missing, first {missing[0]}. "
            "The download is not complete."
        )
    return names
