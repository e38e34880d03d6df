"""The strength of a LoRA over the steps of a run, as a user writes it: "1 until 50 %, then 0"."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from .errors import FamilyError

_PART = re.compile(r"(?:then\s+)?(-?\d+(?:\.\d+)?)(?:\s+until\s+(\d+(?:\.\d+)?)\s*%)?", re.IGNORECASE)
# Shares of steps are compared with this slack, since 50 % of 6 steps is no whole number of a computer's.
_SLACK = 1e-9


@dataclass(frozen=True)
class Strengths:
    """Factors of a LoRA's strength, one behind the other.

    Attributes:
        parts: (share of the steps, 0 to 1, before which it counts; factor), shares rising, the last 1.
    """

    parts: tuple[tuple[float, float], ...]

    def at(self, step: int, steps: int) -> float:
        """The factor of a step, counted from 0, of so many that the model makes in a run."""
        return next(factor for until, factor in self.parts if step < until * steps - _SLACK or until == 1)

    @property
    def text(self) -> str:
        """As a user writes it."""
        words = [f"{factor:g} until {100 * until:g} %" for until, factor in self.parts[:-1]]
        return ", ".join([*words, f"then {self.parts[-1][1]:g}"]) if words else f"{self.parts[0][1]:g}"


def parse(text: str) -> Strengths | None:
    """The factors that a text states; None for an empty one, which leaves the strength as it is.

    >>> parse("1 until 50 %, then 0")
    Strengths(parts=((0.5, 1.0), (1.0, 0.0)))

    Raises:
        FamilyError: it cannot be read, or its shares do not rise.
    """
    if not text.strip():
        return None
    parts: list[tuple[float, float]] = []
    listed = text.split(",")
    for n, part in enumerate(listed):
        match, is_last = _PART.fullmatch(part.strip()), n == len(listed) - 1
        if match is None or (match[2] is None) is not is_last:
            raise FamilyError(
                f"strength_over_steps is {text!r}; expected factors of the strength and shares of the steps, such as "
                '"1 until 50 %, then 0" or "0 until 20 %, 1 until 80 %, then 0.5".'
            )
        until = 1.0 if is_last else float(match[2]) / 100
        if not (parts[-1][0] if parts else 0) < until <= 1 or not math.isfinite(float(match[1])):
            raise FamilyError(f"strength_over_steps is {text!r}; expected shares of the steps that rise, up to 100 %.")
        parts.append((until, float(match[1])))
    return Strengths(tuple(parts))
