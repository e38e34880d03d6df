"""Numbered pictures, one file for each frame: "shots/" for the only ones of a folder, "shots/clip_*.png" for some."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .naming import check_input, split_folder
from .pyav import av
from .timeline import USUAL_RATE, VideoError, counted

# Ending of a picture's name -> FFmpeg's reader of one such file.
_READERS = {
    ".png": "png_pipe", ".jpg": "jpeg_pipe", ".jpeg": "jpeg_pipe", ".webp": "webp_pipe", ".tif": "tiff_pipe",
    ".tiff": "tiff_pipe", ".bmp": "bmp_pipe",
}  # fmt: skip
_NUMBERED = re.compile(r"(?P<before>.*?)(?P<number>\d+)(?P<behind>\.[A-Za-z]+)", re.DOTALL)
# Where the number stands in a pattern: as in a shell, or as FFmpeg and render programs write it.
_PLACE = re.compile(r"\*|%0?\d*d|#+")


# EXIF 2.32, table 6: the tag, and value -> (mirrored left to right, then quarter turns against the clock) to upright.
_EXIF_ORIENTATION = 0x0112
_ORIENTATIONS = {
    2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)
}  # fmt: skip


class Pictures:
    """A sequence of pictures; the surface is `film.Film`'s.

    Args:
        path: a folder, or a folder with a pattern as its last part.
        fps: pictures per second; 0: the usual rate, with a remark.
    Raises:
        VideoError: no such pictures, or more than one sequence of them.
    """

    is_interlaced = is_hdr = has_sound = has_losses = False

    def __init__(self, path: Path, fps: Fraction):
        self.path, self.remarks, self.jumping = path, list[str](), ""
        self.pixel_aspect, self.codec, self.transfer = Fraction(1), "", 0
        self._files = files_of(path)
        self.timeline = counted(len(self._files), fps or USUAL_RATE)
        if not fps:
            self.remarks.append(f"Pictures state no rate: they count as {USUAL_RATE} per second; fps sets it.")
        numbers = [number for number, _ in self._files]
        if numbers[-1] - numbers[0] >= len(numbers):
            gap = next(before for before, behind in pairwise(numbers) if behind > before + 1)
            self.remarks.append(
                f"Numbers are missing from {gap + 1} on ({len(numbers)} pictures from {numbers[0]} to {numbers[-1]}); "
                "the pictures follow each other without a gap."
            )

    def frames(self, first: int, deinterlace: bool = False) -> Iterator[tuple[int, Any]]:
        """(place in the sequence, frame) from `first` on; one that cannot be decoded is missing."""
        for place, (_, file) in enumerate(self._files[first:], first):
            try:
                yield place, _decoded(file)
            except (av.error.FFmpegError, OSError, StopIteration):
                self.has_losses = True


def _decoded(file: Path) -> Any:
    """The picture of a file, upright; transparent ones on black as players show them."""
    with open(file, "rb") as opened, av.open(opened, format=_READERS[file.suffix.lower()]) as container:
        frame = next(iter(container.decode(video=0)), None)
    if frame is None:
        raise OSError(f"{file.name} holds no picture")
    mirror, turns = _ORIENTATIONS.get(_orientation(file), (False, 0))
    has_alpha = frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)
    if not (has_alpha or mirror or turns):
        return frame
    is_wide = any(component.bits > 8 for component in frame.format.components)
    kind, most = ("rgba64le", 65535) if is_wide else ("rgba", 255)
    shown = frame.reformat(format=kind).to_ndarray()
    opaque = np.rint(shown[..., :3] * (shown[..., 3:].astype(np.float64) / most)).astype(shown.dtype)
    upright = np.ascontiguousarray(np.rot90(opaque[:, ::-1] if mirror else opaque, turns))
    return av.VideoFrame.from_ndarray(upright, format="rgb48le" if is_wide else "rgb24")


def _orientation(file: Path) -> int:
    """How a camera was held, by EXIF; 1: upright. FFmpeg 8 tells it in a way that PyAV 17 stumbles over."""
    from PIL import Image

    if file.suffix.lower() not in (".jpg", ".jpeg", ".tif", ".tiff"):
        return 1
    with Image.open(file) as picture:
        return int(picture.getexif().get(_EXIF_ORIENTATION, 1))


def is_sequence(path: Path) -> bool:
    """Whether a path is a folder, or a pattern and no file of that name."""
    return path.is_dir() or (_PLACE.search(path.name) is not None and not path.is_file())


def check_sequence(folders: Mapping[str, Path], name: str) -> Path:
    """The file, folder or pattern of a name; arguments and errors as `check_input` and `Pictures`."""
    plain = split_folder(name)[0] if isinstance(name, str) else ""
    head, separator, last = plain.replace("\\", "/").rpartition("/")
    is_pattern = _PLACE.search(last) is not None and plain.lower().endswith(tuple(_READERS))
    if not is_pattern and not (separator and not last):
        return check_input(folders, name)
    noted = name[len(plain) :]
    folder = check_input(folders, f"{head or '.'}{noted}", is_folder=True)
    path = folder / last if last else folder
    files_of(path)
    return path


def list_sequences(folder: Path) -> list[str]:
    """Names of the folders right inside a folder that hold two numbered pictures or more, with a slash behind them."""
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entry.name for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [f"{name}/" for name in inside if any(len(files) > 1 for files in _sequences(folder / name).values())]


def files_of(path: Path) -> list[tuple[int, Path]]:
    """(number, file) of a sequence's pictures, by number; arguments and errors as `Pictures`."""
    folder, pattern = (path, "") if path.is_dir() else (path.parent, path.name)
    sequences = _sequences(folder)
    if pattern:
        before, behind = _PLACE.split(pattern, maxsplit=1)
        sequences = {key: files for key, files in sequences.items() if key == (before, behind)}
    if not sequences:
        named = f"named {pattern}" if pattern else "whose names end in a number (clip_0001.png)"
        raise VideoError(f"{folder.name} holds no pictures {named}. Read are {', '.join(_READERS)}.")
    if len(sequences) > 1:
        several = "; ".join(f"{before}*{behind} ({len(files)})" for (before, behind), files in sequences.items())
        first_before, first_behind = next(iter(sequences))
        raise VideoError(
            f"{folder.name} holds {len(sequences)} sequences of pictures: {several}. Name one of them: "
            f"{folder.name}/{first_before}*{first_behind}"
        )
    (files,) = sequences.values()
    return sorted(files)


def state_of(path: Path) -> str:
    """A text that changes with the pictures of a sequence; errors as `Pictures`."""
    states = [(file.name, file.stat()) for _, file in files_of(path)]
    return " ".join(f"{name} {state.st_mtime_ns} {state.st_size}" for name, state in states)


def _sequences(folder: Path) -> dict[tuple[str, str], list[tuple[int, Path]]]:
    """(text before the number, text behind it) -> (number, file) of each picture of that name in a folder."""
    sequences: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_file())
    except OSError:
        return {}
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match and match["behind"].lower() in _READERS:
            numbered = sequences.setdefault((match["before"], match["behind"]), [])
            numbered.append((int(match["number"]), folder / name))
    return sequences
