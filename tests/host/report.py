"""What a script found inside ComfyUI: it prints a line `REPORT <json>`, and the tests ask it by name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def report_of(python: str, script: str, *arguments: str | Path, timeout: float = 300) -> dict[str, Any]:
    """Run a script of this folder in ComfyUI's Python and return its report.

    Args:
        arguments: of the script; the first is ComfyUI's folder.
        timeout: seconds.
    """
    command = [python, str(Path(__file__).parent / script), *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    lines = [line for line in run.stdout.splitlines() if line.startswith("REPORT ")]
    assert lines, f"no report from ComfyUI's side:\n{run.stdout[-1500:]}\n{run.stderr[-3000:]}"
    return json.loads(lines[-1][len("REPORT ") :])


def cases_of(report: dict[str, Any], prefix: str = "") -> Callable[[str], Any]:
    """The report's cases by name; asking for one that raised an error fails the test with that error."""

    def found(name: str) -> Any:
        result = report[prefix + name]
        if isinstance(result, dict) and "error" in result:
            pytest.fail(f"{name}:\n{result['error']}", pytrace=False)
        return result

    return found
