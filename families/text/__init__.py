"""Text encoders, one file each. Adding a file with a `KIND` adds the encoder; nothing here is edited."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from ...base import TextEncoderKind

__all__ = ["text_encoders"]


@cache
def text_encoders() -> dict[str, TextEncoderKind]:
    """Every kind of text encoder, by the class of its module, in the alphabetical order of the files."""
    modules = (importlib.import_module(f".{m.name}", __name__) for m in sorted(pkgutil.iter_modules(__path__)))
    kinds = (getattr(module, "KIND", None) for module in modules)
    return {kind.class_name: kind for kind in kinds if kind is not None}
