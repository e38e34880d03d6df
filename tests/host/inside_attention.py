"""Runs inside ComfyUI's Python: the attention cases, printed as one line of JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import boot

wanted = sys.argv[2:]  # parts of the cases' names; none: all
boot.start(Path(sys.argv[1]))

import cases_attention  # noqa: E402, F401

boot.CASES = {name: run for name, run in boot.CASES.items() if not wanted or any(part in name for part in wanted)}
boot.run()
