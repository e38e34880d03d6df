"""Containers: the formats that files of tensors have. A module of this folder with a `FORMAT` adds one."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from ..errors import ModelFileError
from ..gguf_parts import part_names
from ..header import Container, ContainerFormat

FORMATS: list[ContainerFormat] = [
    importlib.import_module(f".{module.name}", __name__).FORMAT for module in pkgutil.iter_modules(__path__)
]
# What downloaders keep beside a file until it is whole: aria2, browsers and curl's front ends, Chrome, qBittorrent.
_COMPANIONS = (".aria2", ".part", ".dl-meta", ".crdownload", ".!qB", ".incomplete", ".download")
_WINDOW = 4096
# First bytes of files by torch.save: a zip archive, or a bare pickle of protocol 2 to 5.
_PICKLE_STARTS = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def endings() -> tuple[str, ...]:
    """How the names of files that can be opened end, in small letters."""
    return tuple(dict.fromkeys(ending for container in FORMATS for ending in container.endings))


def open_container(path: Path) -> Container:
    """Read a file's header, in the format that its first bytes show.

    Raises:
        ModelFileError: missing, empty, cut short, still downloading, damaged, a pickle, or no file of tensors at all.
    """
    parts = [(part, _companion(part)) for part in part_names(path)]
    unfinished = next(((part, companion) for part, companion in parts if companion is not None), None)
    if unfinished is None:
        return _opened(path)
    part, companion = unfinished
    try:
        container = _opened(path)
        if not _has_gaps(part):
            return container
    except ModelFileError:
        pass
    raise ModelFileError(
        f"{part}: is still downloading: {companion.name} lies beside it, and parts of it are not written yet. Wait "
        f"until the download ends; if it has ended, delete {companion.name} and get the file again."
    )


def _companion(path: Path) -> Path | None:
    """The file that a downloader keeps beside this one."""
    return next((name for end in _COMPANIONS if (name := path.with_name(path.name + end)).exists()), None)


def _has_gaps(path: Path) -> bool:
    """Whether a file is zero at its end or in one of 64 places: its room was taken before all bytes came."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        for place in range(1, 65):
            file.seek(max(0, size * place // 64 - _WINDOW))
            if not any(file.read(_WINDOW)):
                return True
    return False


def _opened(path: Path) -> Container:
    try:
        with open(path, "rb") as file:
            start = file.read(16)
        for container_format in FORMATS:
            if container_format.matches(start):
                return container_format.open(path)
        size = path.stat().st_size
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if start[:2] in _PICKLE_STARTS:
        raise ModelFileError(
            f"{path}: this is a Python pickle (a .pt or .ckpt file), whatever its name says. Pickles can run "
            "code and are not opened. Get the safetensors version of this model, or convert the file with "
            "scripts/convert.py, which comes with the repository alone: git clone https://github.com/OpenT2V/opent2v, "
            f"then python3 opent2v/scripts/convert.py {path.name}"
        )
    raise ModelFileError(
        f"{path}: {size} bytes that are neither a safetensors nor a GGUF file (no valid header). "
        "The download may have saved a web page or an error text: download the file again."
    )
