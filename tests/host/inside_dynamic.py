"""Runs inside ComfyUI's Python: the cases under dynamic VRAM loading, printed as one line of JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import boot

wanted = sys.argv[2:]  # parts of the cases' names; none: all
boot.start(Path(sys.argv[1]))

import dynamic  # noqa: E402

if not dynamic.is_there():
    print("REPORT " + json.dumps({}))
    sys.exit()
dynamic.start()

import cases_dynamic  # noqa: E402, F401

boot.CASES = {
    name: run
    for name, run in boot.CASES.items()
    if name.startswith("dynamic") and (not wanted or any(part in name for part in wanted))
}
boot.run()
