"""Model families, one file each. Adding a file with a `FAMILY` adds the family; nothing here is edited."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from .base import Defaults, Family, FamilyError, Geometry, Variant
from .parts import TextEncoder, VideoModel, VideoVAE

__all__ = [
    "Defaults",
    "Family",
    "FamilyError",
    "Geometry",
    "TextEncoder",
    "Variant",
    "VideoModel",
    "VideoVAE",
    "families",
    "recognise",
]


@cache
def families() -> dict[str, Family]:
    """Every family, by id, in alphabetical order."""
    found = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        family = getattr(importlib.import_module(f".{module}", __name__), "FAMILY", None)
        if family is not None:
            found[family.id] = family
    return found


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> Variant | None:
    """The variant of a transformer that another loader built in its makers' own layout; None where no family knows it.

    Args:
        shapes: parameter name, without a prefix -> shape.
    Raises:
        FamilyError: a family knows it, and it is of a kind that cannot be used.
    """
    for family in families().values():
        variant = family.of_native(shapes) if family.of_native else None
        if variant is not None:
            return variant
    return None
