"""The values of widgets: checked against what their input allows, and read from the text of a command line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from .catalog import Input

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def checked(item: Input, value: Any, *, limits: bool = True) -> Any:
    """A value as the node gets it.

    Numbers may come as text and whole numbers as floats, as ComfyUI takes them. It also cuts 2.7 down to 2 and reads
    "false" as true; that is refused here.

    Args:
        limits: check min, max and the choices too (a class with its own VALIDATE_INPUTS may do that itself).
    Raises:
        ValueError: wrong type, or outside what the input allows; the message says what was found and what is expected.
    """
    if isinstance(value, dict) and "__value__" in value:
        value = value["__value__"]
    if item.type == "INT":
        value = _whole(value)
    elif item.type == "FLOAT":
        value = _number(value)
    elif item.type == "STRING":
        if not isinstance(value, (str, int, float)) or isinstance(value, bool):
            raise ValueError(f"is {_show(value)}; expected text")
        value = str(value)
    elif item.type == "BOOLEAN":
        if value not in (True, False):
            raise ValueError(f"is {_show(value)}; expected true or false")
        value = bool(value)
    if isinstance(value, str) and item.choices is not None and value not in item.choices:
        value = _as_listed(value, item.choices)
    if limits and isinstance(value, (int, float)):
        _check_range(item, value)
    if limits and item.choices is not None:
        _check_choice(item, value)
    return value


def _as_listed(value: str, choices: Iterable[Any]) -> str:
    """A file's name as it is listed here, where the graph was saved on a system that separates folders otherwise."""
    plain = value.replace("\\", "/")
    return next((choice for choice in choices if str(choice).replace("\\", "/") == plain), value)


def parsed(item: Input, text: str) -> Any:
    """A value typed on a command line.

    Raises:
        ValueError: the text does not fit the input.
    """
    value: Any = text
    if item.type == "BOOLEAN":
        value = _WORDS.get(text.strip().lower(), text)
    elif item.choices is not None:
        value = next((choice for choice in item.choices if str(choice) == text), text)
    return checked(item, value)


def _whole(value: Any) -> int:
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"is {_show(value)}; expected a whole number") from None


def _number(value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"is {_show(value)}; expected a number")
    return number


def _check_range(item: Input, value: float) -> None:
    low, high = item.options.get("min"), item.options.get("max")
    if (low is not None and value < low) or (high is not None and value > high):
        allowed = (
            f"{low} to {high}"
            if low is not None and high is not None
            else f"at least {low}"
            if high is None
            else f"at most {high}"
        )
        raise ValueError(f"is {value}; expected {allowed}")


def _check_choice(item: Input, value: Any) -> None:
    choices = item.choices or ()
    chosen = value if item.options.get("multi_select") and isinstance(value, list) else [value]
    for choice in chosen:
        if choice in choices:
            continue
        if not choices:
            raise ValueError(
                f"is {_show(choice)}, and there is nothing to choose from: no such file was found in the model folders"
            )
        close = get_close_matches(str(choice), [str(choice) for choice in choices], 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        listed = ", ".join(repr(choice) for choice in choices[:12]) + (
            f", ... ({len(choices)} in all)" if len(choices) > 12 else ""
        )
        raise ValueError(f"is {_show(choice)}{hint}; expected one of {listed}")


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
