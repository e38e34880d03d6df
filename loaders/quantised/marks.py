"""What a file says about the storage of its layers: `comfy_quant` tensors, or one entry for all in its metadata.

Source: ComfyUI 0.33.0, comfy/utils.py `convert_old_quants` and comfy/ops.py `_load_quantized_module`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import ModelFileError
from ..header import Container, TensorInfo

MARK = ".comfy_quant"
_ENTRY = "_quantization_metadata"


@dataclass(frozen=True)
class Mark:
    """What a file says about one layer.

    Attributes:
        format: ComfyUI's name of the format.
        settings: the entries beside it, those of "params" among them.
    """

    format: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class MarkedFile:
    """A `Container` whose marks are read.

    Attributes:
        marks: by the layer's name in the file ("blocks.0.q").
    """

    path: Path
    header: dict[str, TensorInfo]
    metadata: dict[str, str]
    tensors: Callable[[], AbstractContextManager[Callable[[str], Tensor]]]
    marks: Mapping[str, Mark]

    def marked_as(self, name: str) -> list[str]:
        """The layers whose mark names a format."""
        return [layer for layer, mark in self.marks.items() if mark.format == name]


def marked(file: Container) -> MarkedFile:
    """
    Raises:
        ModelFileError: a mark that cannot be read, or two for a layer that differ.
    """
    marks = _of_metadata(file)
    for layer, mark in _of_tensors(file).items():
        if marks.setdefault(layer, mark) != mark:
            raise ModelFileError(
                f"{file.path}: {layer}{MARK} says {mark.format} {dict(mark.settings)}, and the file's metadata say "
                f"{marks[layer].format} {dict(marks[layer].settings)}. The file was converted wrongly: get it again."
            )
    return MarkedFile(file.path, file.header, file.metadata, file.tensors, marks)


def _of_tensors(file: Container) -> dict[str, Mark]:
    names = [name for name in file.header if name.endswith(MARK)]
    if not names:
        return {}
    marks = {}
    with file.tensors() as read:
        for name in names:
            info = file.header[name]
            if info.dtype not in ("U8", "I8") or len(info.shape) != 1:
                raise ModelFileError(
                    f"{file.path}: {name} is stored as {info.dtype} {list(info.shape)}, expected the bytes of a JSON "
                    "text (U8). The file was converted wrongly: get it again."
                )
            try:
                content = json.loads(bytes(read(name).numpy()))
            except ValueError as error:
                raise ModelFileError(
                    f"{file.path}: {name} is no JSON text ({error}). The file is damaged: get it again."
                ) from error
            marks[name.removesuffix(MARK)] = _mark(file.path, name, content)
    return marks


def _of_metadata(file: Container) -> dict[str, Mark]:
    text = file.metadata.get(_ENTRY)
    if text is None:
        return {}
    try:
        layers = json.loads(text)["layers"]
        items = list(layers.items())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{file.path}: the entry {_ENTRY} of the file's metadata cannot be read ({error}); expected a JSON object "
            'with "layers". The file was converted wrongly: get it again.'
        ) from error
    # A file that holds one part of a model may still list the layers of the others.
    return {
        layer: _mark(file.path, f"{layer} in {_ENTRY}", content)
        for layer, content in items
        if f"{layer}.weight" in file.header
    }


def _mark(path: Path, name: str, content: Any) -> Mark:
    if not isinstance(content, dict) or not isinstance(content.get("format"), str):
        raise ModelFileError(
            f'{path}: {name} holds {json.dumps(content)[:200]}, expected a JSON object with "format". The file was '
            "converted wrongly: get it again."
        )
    nested = content.get("params")
    settings = {**(nested if isinstance(nested, dict) else {}), **content}
    return Mark(content["format"], {key: value for key, value in settings.items() if key not in ("format", "params")})
