"""The one place where diffusers and transformers are imported, late and behind a guard."""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType
from typing import Any

OLDEST_DIFFUSERS = (0, 35)
INSTALL = "Install the pack's requirements: pip install -r requirements.txt (with the Python that runs ComfyUI)."


class MissingLibrary(ImportError):
    """diffusers or transformers is missing or too old."""


@cache
def library(name: str) -> ModuleType:
    """Import "diffusers", "transformers" or another library by its name.

    Raises:
        MissingLibrary: with the one line that installs what is missing.
    """
    try:
        _forget_broken_torchaudio()
        module = __import__(name)
    except ImportError as error:
        raise MissingLibrary(f"{name} cannot be imported ({error}). {INSTALL}") from error
    if name == "diffusers" and tuple(int(p) for p in module.__version__.split(".")[:2]) < OLDEST_DIFFUSERS:
        wanted = ".".join(map(str, OLDEST_DIFFUSERS))
        raise MissingLibrary(f"diffusers {module.__version__} is too old, {wanted} or newer is needed. {INSTALL}")
    return module


def library_class(name: str) -> type:
    """A model, tokenizer or scheduler class by its name, from diffusers or else from transformers."""
    for module in ("diffusers", "transformers"):
        try:
            found = getattr(library(module), name, None)
        except RuntimeError as error:  # transformers wraps a failing lazy import in a RuntimeError
            raise MissingLibrary(f"{module}.{name} cannot be imported ({error}). {INSTALL}") from error
        if found is not None:
            return found
    raise MissingLibrary(f"Neither diffusers nor transformers has a class {name}: they are too old. {INSTALL}")


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
