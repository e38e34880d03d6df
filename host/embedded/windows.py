"""Windows over time on the embedded host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...sampling.travel import AT, Place
from ...sampling.windows import Windows
from .model import Model


def travelling(place: Place) -> dict[str, Any]:
    return {AT: place}


def apply_windows(model: Model, windows: Windows) -> Model:
    return replace(model, windows=windows.for_model(model.part.variant))
