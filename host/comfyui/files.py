"""Where ComfyUI keeps files, and outputs that are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sd1_clip
import folder_paths
from comfy_execution.graph_utils import ExecutionBlocker

from ...families.text import text_encoders


def model_files(kind: str) -> dict[str, Path]:
    try:
        names = folder_paths.get_filename_list(kind)
    except KeyError:
        return {}
    paths = {name: folder_paths.get_full_path(kind, name) for name in names}
    return {name: Path(path) for name, path in paths.items() if path}


def tokenizer_folder(class_name: str) -> Path | None:
    kind = text_encoders().get(class_name)
    folder = Path(comfy.sd1_clip.__file__).parent / kind.host_tokenizer if kind and kind.host_tokenizer else None
    has_vocabulary = folder and any((folder / n).is_file() for n in ("tokenizer.json", "vocab.json"))
    return folder if has_vocabulary else None


def missing(message: str) -> Any:
    return ExecutionBlocker(message)
