"""The harness for everything that runs inside a real ComfyUI: starts it in this process and runs cases there.

A case is a function marked with `@case`, in an `inside_*.py` script or in a `cases_*.py` module that such a script
imports. `run` runs them and prints the results as one line of JSON, for `report.py`; a case that fails gives its
traceback. One case alone, by a part of its name, in ComfyUI's Python:

    python tests/host/inside_open_sora.py COMFYUI loops
"""

from __future__ import annotations

import argparse
import atexit
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
CASES: dict[str, Callable[[], Any]] = {}
_options = argparse.Namespace()

sys.path.append(str(ROOT / "scripts"))

import comfyui_start  # noqa: E402
from comfyui_start import call  # noqa: E402

__all__ = ["CASES", "ROOT", "call", "case", "largest", "off", "run", "scratch", "start"]


def start() -> None:
    """Make `comfy`, core's nodes with all extras, and the pack as `opent2v` importable."""
    parser = argparse.ArgumentParser()
    parser.add_argument("comfyui", type=Path)
    parser.add_argument("names", nargs="*", help="parts of the names of cases; none: all")
    parser.add_argument("--scratch", type=Path, help="where cases write, and what they write stays")
    parser.parse_args(namespace=_options)
    comfyui_start.start_with_pack(_options.comfyui, "--cpu")


def scratch() -> Path:
    """A folder that lives as long as this process, or the one that the command line names."""
    if _options.scratch:
        return _options.scratch
    folder = Path(tempfile.mkdtemp(prefix="opent2v-host-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def case(function: Callable[[], Any]) -> Callable[[], Any]:
    """Add a case; its name is that of its file, without "cases_" or "inside_", and its own."""
    file = Path(function.__code__.co_filename).stem
    CASES[f"{file.removeprefix('cases_').removeprefix('inside_')} {function.__name__}"] = function
    return function


def run(prefix: str = "") -> None:
    """Run the cases whose names start so, or those of them that the command line names, and print the report."""
    report = {}
    for name, function in CASES.items():
        if not name.startswith(prefix) or (_options.names and not any(part in name for part in _options.names)):
            continue
        began = time.monotonic()
        try:
            report[name] = function()
        except Exception:
            report[name] = {"error": traceback.format_exc()[-3000:]}
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
    print("REPORT " + json.dumps(report))


def largest(a: Any, b: Any) -> float:
    """The largest difference of two tensors of one shape."""
    if a.shape != b.shape:
        raise AssertionError(f"{list(a.shape)} against {list(b.shape)}")
    return (a.float().cpu() - b.float().cpu()).abs().max().item()


def off(result: Any, exact: Any) -> float:
    """The difference of two tensors, as a part of the second."""
    return ((result - exact).norm() / exact.norm()).item()
