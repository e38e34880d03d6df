"""The files of a GGUF that llama-gguf-split or the `gguf` package has split: `name-00001-of-00003.gguf` and so on.

Source: https://github.com/ggml-org/llama.cpp, tools/gguf-split/README.md; the keys `split.no`, `split.count` and
`split.tensors.count` of each part's metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import ModelFileError

_NAME = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)", re.IGNORECASE)
_JOIN = "join the parts with llama-gguf-split --merge FIRST_PART JOINED_FILE"


def part_names(path: Path) -> list[Path]:
    """All parts of the model that a file's name says it is a part of, there or not; the file itself in one piece."""
    name = _NAME.search(path.name)
    if name is None:
        return [path]
    before, behind = path.name[: name.start()], path.name[name.end() :]
    return [path.with_name(f"{before}-{n:05}-of-{name[2]}{behind}") for n in range(1, int(name[2]) + 1)] or [path]


def split_place(values: Mapping[str, Any]) -> tuple[int, int]:
    """(number of the part from 0, count of parts) as the metadata states them; (0, 1) of a file in one piece."""
    place = values.get("split.no", 0), values.get("split.count", 1)
    return place if all(isinstance(value, int) for value in place) and place[1] > 1 else (0, 1)


def check_parts(path: Path, values: Mapping[str, Any]) -> list[Path]:
    """The files that a model is split into, in their order.

    Args:
        values: metadata of the file at `path`, which may be any of them.
    Raises:
        ModelFileError: the file's name is not that of its part, or parts are missing beside it.
    """
    number, count = split_place(values)
    if count == 1:
        return [path]
    names = part_names(path)
    if len(names) != count or not 0 <= number < count or names[number] != path:
        raise ModelFileError(
            f"{path}: is part {number + 1} of {count} of a split GGUF, and its name does not say so. Expected a name "
            f"that ends in -{number + 1:05}-of-{count:05}.gguf, with the other parts beside it. Give the parts their "
            f"names back, or {_JOIN}."
        )
    missing = [name for name in names if not name.is_file()]
    if missing:
        raise ModelFileError(
            f"{path}: is part {number + 1} of {count} of a split GGUF, and {len(missing)} of the parts are not beside "
            f"it, first {missing[0].name}. Get all {count} into one folder; any of them can then be chosen."
        )
    return names
