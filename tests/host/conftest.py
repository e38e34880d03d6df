"""Every test here needs a real ComfyUI and is skipped with a reason when there is none, see `tests/comfyui.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opent2v.tests.comfyui import comfyui, python, quickstart_model

from .report import cases_of, report_of

__all__ = ["comfyui", "inside", "python", "quickstart_model"]


@pytest.fixture(scope="session")
def inside(comfyui: Path, python: str, quickstart_model: Path) -> Callable[[str], Any]:
    """What a case of the `cases_*.py` modules found, by "<module> <case>"; all of them run once, in one ComfyUI."""
    return cases_of(report_of(python, "inside.py", comfyui, timeout=600))
