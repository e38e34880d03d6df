"""The clips of a data set: files with their captions, in the layouts that trainers share.

- a folder: each video or picture has its caption in a .txt file of the same stem; a sound of the same stem replaces the
  video's own;
- a list: JSONL or CSV with `video_path` and `caption`, optionally `audio_path`; paths count from the list's folder.
  `file_name` and `text`, as in metadata.csv and metadata.jsonl of image data sets, mean the same. A folder with such a
  metadata file is read by it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base.walk import files_below
from ..media.reader import SUFFIXES
from .errors import TrainingError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".ogg")
LISTS = (".jsonl", ".csv")
_METADATA = ("metadata.jsonl", "metadata.csv")
_PATHS, _CAPTIONS = ("video_path", "image_path", "file_name"), ("caption", "text")
# A picture's suffix may be an animation's too; the ones that only show pictures are read as such.
VIDEOS = tuple(suffix for suffix in SUFFIXES if suffix not in PICTURES)


@dataclass(frozen=True)
class Clip:
    """
    Attributes:
        name: below the data set's folder, for messages.
        caption: as written.
        sound: a file that replaces the video's own sound, or None.
    """

    name: str
    path: Path
    caption: str
    sound: Path | None = None

    @property
    def is_picture(self) -> bool:
        return self.path.suffix.lower() in PICTURES


@dataclass(frozen=True)
class Refused:
    """A clip that is left out, and why."""

    name: str
    reason: str


def read_clips(data: Path, caption: str = "", within: Path | None = None) -> tuple[list[Clip], list[Refused]]:
    """The clips of a data set in order of their names, and what is refused.

    Args:
        data: a folder or a list.
        caption: of clips without a caption; "" refuses them.
        within: refuse what a list names outside of this folder.
    Raises:
        TrainingError: no such data set, or a list that cannot be read.
    """
    if data.is_dir():
        listed = next((data / name for name in _METADATA if (data / name).is_file()), None)
        return _listed(listed, caption, within) if listed else _in_folder(data, caption)
    if not data.is_file():
        raise TrainingError(f"{data} is not there. Expected a folder of clips, or a list (.jsonl or .csv).")
    if data.suffix.lower() not in LISTS:
        raise TrainingError(f"{data.name} is no list of clips. Expected a folder, a .jsonl or a .csv file.")
    return _listed(data, caption, within)


def _in_folder(folder: Path, caption: str) -> tuple[list[Clip], list[Refused]]:
    files = list(files_below(folder))
    sounds = {file.with_suffix(""): file for file in files if file.suffix.lower() in SOUNDS}
    clips: list[Clip] = []
    refused: list[Refused] = []
    stems: dict[Path, str] = {}
    for file in files:
        name = file.relative_to(folder).as_posix()
        if file.suffix.lower() not in (*VIDEOS, *PICTURES):
            continue
        stem = file.with_suffix("")
        if stem in stems:
            reason = f"{stems[stem]} has the same stem, and so the same caption file. Rename one of the two."
            refused.append(Refused(name, reason))
            continue
        stems[stem] = name
        try:
            text = _caption_beside(file, caption)
        except TrainingError as error:
            refused.append(Refused(name, str(error)))
            continue
        clips.append(Clip(name, file, text, sounds.get(stem)))
    return clips, refused


def _caption_beside(file: Path, caption: str) -> str:
    beside = file.with_suffix(".txt")
    text = _text_of(beside).strip() if beside.is_file() else ""
    if text or caption:
        return text or caption
    state = "is empty" if beside.is_file() else "is not there"
    raise TrainingError(f"It has no caption: {beside.name} {state}. Write one, or set a caption for all clips without.")


def _text_of(path: Path) -> str:
    """
    Raises:
        TrainingError: the text is neither UTF-8 nor UTF-16 with its mark.
    """
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise TrainingError(
            f"{path.name} is no UTF-8 text (byte {error.start} is {data[error.start]:#04x}). Save it as UTF-8."
        ) from None
    if "\0" in text:
        raise TrainingError(
            f"{path.name} holds NUL characters: it is UTF-16 without its mark, or no text. Save as UTF-8."
        )
    return text


def _listed(path: Path, caption: str, within: Path | None) -> tuple[list[Clip], list[Refused]]:
    clips: list[Clip] = []
    refused: list[Refused] = []
    for line, row in _rows(path):
        name = f"{path.name}, line {line}"
        try:
            clips.append(_clip_of(row, path.parent, caption, within))
        except TrainingError as error:
            refused.append(Refused(name, str(error)))
    return clips, refused


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line number, row)."""
    text = _text_of(path)
    if path.suffix.lower() == ".csv":
        rows = csv.DictReader(io.StringIO(text, newline=""))
        names: Sequence[str] = rows.fieldnames or ()
        if not set(_PATHS) & set(names):
            columns = ", ".join(names) or "none"
            raise TrainingError(f"{path.name} has no column video_path (its columns: {columns}). Add it.")
        for row in rows:
            yield rows.line_num, row
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise TrainingError(
                f"{path.name}, line {number} is no JSON ({error.msg}). Write one object a line."
            ) from None
        if not isinstance(row, dict):
            raise TrainingError(f"{path.name}, line {number} is no JSON object. Write one object a line.")
        yield number, row


def _clip_of(row: Mapping[str, Any], folder: Path, caption: str, within: Path | None) -> Clip:
    if row.get("control_path"):
        raise TrainingError("control_path is set, and no family here is trained with a control video. Take it out.")
    name = next((str(row[key]) for key in _PATHS if row.get(key)), "")
    if not name:
        raise TrainingError("It has no video_path.")
    path, sound = _checked(folder, name, within), None
    if path.suffix.lower() not in (*VIDEOS, *PICTURES):
        raise TrainingError(f"{name} is neither a video nor a picture by its name.")
    if row.get("audio_path"):
        sound = _checked(folder, str(row["audio_path"]), within)
    text = next((str(row[key]).strip() for key in _CAPTIONS if row.get(key)), "") or caption
    if not text:
        raise TrainingError(f"{name} has no caption. Write one, or set a caption for all clips without.")
    return Clip(name, path, text, sound)


def _checked(folder: Path, name: str, within: Path | None) -> Path:
    path = folder / name
    if within is not None and not path.resolve().is_relative_to(within.resolve()):
        raise TrainingError(f"{name} is outside of {within.name}. Put it into that folder.")
    if not path.is_file():
        raise TrainingError(f"{name} is not there.")
    return path
