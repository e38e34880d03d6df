"""The one place where diffusers and transformers are imported, late and behind a guard."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

# Order of import: the first library that fails is named in the error, since the later ones need it.
OLDEST = {"safetensors": (0, 4, 3), "transformers": (4, 50), "diffusers": (0, 35)}


class MissingLibrary(ImportError):
    """safetensors, transformers or diffusers is missing or too old."""


def install() -> str:
    """The pip command that fixes it, for a terminal, with the Python that runs this process."""
    requirements = Path(__file__).resolve().parent.parent / "requirements.txt"
    return f'Install what the pack needs and restart: "{sys.executable}" -m pip install -r "{requirements}"'


@cache
def library(name: str) -> ModuleType:
    """Import "diffusers", "transformers" or "safetensors". Each call checks all three, because a model needs all.

    Raises:
        MissingLibrary: with the one line that installs what is missing.
    """
    modules = {}
    for each, oldest in OLDEST.items():
        try:
            if each == "transformers":
                _forget_broken_torchaudio()
            modules[each] = import_module(each)
        except (ImportError, RuntimeError) as error:
            raise MissingLibrary(f"{each} cannot be imported ({error}). {install()}") from error
        version = modules[each].__version__
        if release(version) < oldest:
            minimum = ".".join(map(str, oldest))
            raise MissingLibrary(f"{each} {version} is too old, {minimum} or newer is needed. {install()}")
    return modules[name]


def library_class(name: str) -> type:
    """A model, tokenizer or scheduler class by its name, from diffusers or else from transformers.

    Args:
        name: with the path below the library where that does not list the class itself.
    """
    path, _, leaf = name.rpartition(".")
    for module in ("diffusers", "transformers"):
        try:
            member = getattr(_below(module, path), leaf, None)
        except RuntimeError as error:  # transformers wraps a failing lazy import in a RuntimeError
            raise MissingLibrary(f"{module}.{name} cannot be imported ({error}). {install()}") from error
        if member is not None:
            return member
    raise MissingLibrary(f"Neither diffusers nor transformers has a class {name}: they are too old. {install()}")


def _below(name: str, path: str) -> ModuleType | None:
    """A library's module at a path below it; None where an older library has none."""
    root = library(name)
    try:
        return import_module(f"{name}.{path}") if path else root
    except ModuleNotFoundError:
        return None


def release(version: str) -> tuple[int, ...]:
    """The numbers a version starts with.

    >>> release("0.35.0.dev0"), release("4.50rc1")
    ((0, 35, 0), (4, 50))
    """
    numbers: list[int] = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        numbers += [int(digits)] if digits else []
        if digits != part:
            break
    return tuple(numbers)


def _forget_broken_torchaudio() -> None:
    """Make transformers do without torchaudio where torchaudio cannot be imported.

    A torchaudio of another build than torch raises on import; transformers imports it whenever it is installed,
    and every diffusers model import then fails with an unrelated message.
    """
    try:
        import torchaudio  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        return
    except Exception:
        for name in [n for n in sys.modules if n == "torchaudio" or n.startswith("torchaudio.")]:
            del sys.modules[name]
        import transformers.utils
        import transformers.utils.import_utils

        places: tuple[Any, ...] = (transformers.utils, transformers.utils.import_utils)
        for place in places:
            if hasattr(place, "is_torchaudio_available"):
                place.is_torchaudio_available = lambda: False
