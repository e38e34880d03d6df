"""Windows over time on the embedded host."""

from __future__ import annotations

from dataclasses import replace

from ...sampling.windows import Windows
from .model import Model


def apply_windows(model: Model, windows: Windows) -> Model:
    return replace(model, windows=windows.for_model(model.part.variant))
