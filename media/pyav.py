"""PyAV, imported when the first file is written: without it the pack loads all the same, and saving says what to do."""

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

OLDEST = (14, 2)


class MissingPyAV(ImportError):
    """PyAV is missing or too old."""


@cache
def _pyav() -> ModuleType:
    requirements = Path(__file__).resolve().parent.parent / "requirements.txt"
    install = f'Install what the pack needs and restart: "{sys.executable}" -m pip install -r "{requirements}"'
    try:
        module = import_module("av")
        for part in ("av.error", "av.filter", "av.video.reformatter"):
            import_module(part)
    except ImportError as error:
        raise MissingPyAV(f"av (PyAV) cannot be imported ({error}). {install}") from error
    if tuple(int(part) for part in module.__version__.split(".")[:2]) < OLDEST:
        minimum = ".".join(map(str, OLDEST))
        raise MissingPyAV(f"av (PyAV) {module.__version__} is too old, {minimum} or newer is needed. {install}")
    return module


def is_there() -> bool:
    """Whether a PyAV that will do is installed."""
    try:
        check_pyav()
    except MissingPyAV:
        return False
    return True


def check_pyav() -> None:
    """Raise MissingPyAV where files can be neither written nor read."""
    _pyav()


class _Late:
    """Stands for the module `av`; every name comes from it, MissingPyAV where it cannot."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_pyav(), name)


av = _Late()
