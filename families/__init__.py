"""Model families, one file each. Adding a file with a `FAMILY` adds the family; nothing here is edited."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache, lru_cache

from ..base import Family, Near, NotWhole, Recognised, Shapes, Variant

__all__ = ["families", "recognised", "variant_of"]


@cache
def families() -> dict[str, Family]:
    """Every family, by id, in alphabetical order."""
    by_id = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        family = getattr(importlib.import_module(f".{module}", __name__), "FAMILY", None)
        if family is not None:
            by_id[family.id] = family
    return by_id


def variant_of(shapes: Shapes) -> Variant | None:
    """The variant of a transformer that another loader built; None where no family recognises it.

    Args:
        shapes: parameter name, without a prefix -> shape.
    Raises:
        FamilyError: a family knows it, and it is of a kind that is not supported.
    """
    part = recognised(shapes)
    return part.variant if part else None


def recognised(shapes: Shapes) -> Recognised | None:
    """The recognised network of such a transformer; arguments and errors as `variant_of`."""
    return _recognised(tuple(shapes.items()))


@lru_cache(maxsize=8)  # nodes ask for the same MODEL many times in a run
def _recognised(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> Recognised | None:
    near: Near | None = None
    for family in families().values():
        verdict = family.recognise(dict(shapes), "This MODEL")
        if isinstance(verdict, Recognised) and verdict.part == "transformer":
            return verdict
        near = near or (verdict if isinstance(verdict, Near) else None)
    if near is not None:
        raise NotWhole(near)
    return None
