"""Every test here needs a real ComfyUI and is skipped with a reason when there is none."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opent2v.tests.comfyui import comfyui, python, quickstart_model

__all__ = ["comfyui", "inside", "python", "quickstart_model"]


@pytest.fixture(scope="session")
def inside(comfyui: Path, python: str, quickstart_model: Path) -> Callable[[str], Any]:
    """What a case of the `cases_*.py` modules found, by "<module> <case>"; all of them run once, in one ComfyUI."""
    script = Path(__file__).parent / "inside.py"
    run = subprocess.run([python, str(script), str(comfyui)], capture_output=True, text=True, timeout=600)
    lines = [line for line in run.stdout.splitlines() if line.startswith("REPORT ")]
    assert lines, f"no report from ComfyUI's side:\n{run.stdout[-1500:]}\n{run.stderr[-3000:]}"
    report = json.loads(lines[-1][len("REPORT ") :])

    def found(name: str) -> Any:
        result = report[name]
        if isinstance(result, dict) and "error" in result:
            pytest.fail(f"{name}:\n{result['error']}", pytrace=False)
        return result

    return found
