"""What a request may set, as a model that checks it and describes itself in the OpenAPI page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

# Inputs that a service shows where the workflow has them; the others by --expose.
SHOWN = ("prompt", "negative", "seed", "width", "height", "frames", "seconds", "steps", "cfg")
# Longest text of a request.
MOST_LETTERS = 4000
_TYPES = {"INT": int, "FLOAT": float, "BOOLEAN": bool, "STRING": str}


def request_model(columns: Mapping[str, Any], most: Mapping[str, float], current: Mapping[str, Any]) -> Any:
    """A pydantic model with a field for each column; what is left out keeps the workflow's value.

    Args:
        columns: name -> `headless.batch.columns.Column`.
        most: name -> the highest value that a request may ask for.
        current: name -> the workflow's value, shown as the description.
    Raises:
        ValueError: a limit for an input that is not shown, or that is no number.
    """
    from pydantic import ConfigDict, Field, create_model

    for name in most:
        if name not in columns or columns[name].item.type not in ("INT", "FLOAT"):
            raise ValueError(f"--limit {name}: no number of that name is shown; shown are {', '.join(columns)}")
    entries: dict[str, Any] = {}
    for name, column in columns.items():
        item = column.item
        kind: Any = _TYPES.get(item.type, str)
        limits: dict[str, Any] = {}
        if item.choices is not None:
            kind = Literal[tuple(str(choice) for choice in item.choices)] if item.choices else str
        elif item.type in ("INT", "FLOAT"):
            highest = min(most.get(name, item.options.get("max", 2**63)), 2**64 - 1)
            limits = {"ge": item.options.get("min", -(2**63)), "le": highest}
            limits |= {"allow_inf_nan": False} if item.type == "FLOAT" else {}
        elif item.type == "STRING":
            limits = {"max_length": MOST_LETTERS}
        limits["description"] = (
            f"{item.options.get('tooltip', '')} The workflow's value: {current.get(name)!r}.".strip()
        )
        entries[name] = (kind | None, Field(None, **limits))
    # strict: "7" is no number, and true is none either.
    config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())
    return create_model("VideoRequest", __config__=config, **entries)
