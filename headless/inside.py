"""The workflow inside a saved video or picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..media.film import opened
from .graph import WorkflowError

PICTURES = frozenset({".png", ".apng", ".webp"})
_KEYS = ("workflow", "prompt")


def workflow_inside(path: Path) -> str:
    """The text of the page's workflow that a file carries, else of the prompt that was run.

    MP4, MOV, WebM and MKV as Save Video File and ComfyUI's own nodes write them, in tags; PNG, in texts; WebP, in EXIF
    as "key:text". Video Helper Suite's comment, which holds both, is read as well.

    Raises:
        WorkflowError: the file carries none.
        VideoError: no video that can be read.
    """
    texts = dict(_picture_texts(path)) if path.suffix.lower() in PICTURES else _video_texts(path)
    for key in _KEYS:
        if texts.get(key):
            return texts[key]
    raise WorkflowError(
        f"{path.name} carries no workflow; expected a file as ComfyUI or this pack saved it (of numbered pictures, the "
        "first). Programs that convert or send files leave it out."
    )


def _video_texts(path: Path) -> dict[str, str]:
    with opened(path) as container:
        # Matroska has its keys in capitals.
        tags = {key.lower(): str(text) for key, text in container.metadata.items()}
    return {**_comment(tags.get("comment", "")), **tags}


def _comment(text: str) -> dict[str, str]:
    try:
        entries = json.loads(text)
    except ValueError:
        return {}
    entries = entries if isinstance(entries, Mapping) else {}
    return {key: _text(entries[key]) for key in _KEYS if entries.get(key)}


def _text(entry: Any) -> str:
    return entry if isinstance(entry, str) else json.dumps(entry)


def _picture_texts(path: Path) -> Iterator[tuple[str, str]]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            picture.load()  # texts may lie behind the pixels
            yield from ((key, text) for key, text in picture.info.items() if isinstance(text, str))
            for entry in picture.getexif().values():
                key, colon, text = str(entry).partition(":")
                if colon:
                    yield key, _utf8(text)
    except FileNotFoundError:
        raise WorkflowError(f"{path} does not exist; expected a workflow, or a file that carries one") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise WorkflowError(f"{path.name} is no picture that can be read; choose another file.") from error


def _utf8(text: str) -> str:
    """EXIF texts are read as Latin-1, and written as UTF-8."""
    try:
        return text.rstrip("\0").encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text.rstrip("\0")
