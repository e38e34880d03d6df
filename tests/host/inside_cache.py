"""Runs inside ComfyUI's Python: the step cache's cases alone, printed as one line of JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import boot

boot.start(Path(sys.argv[1]))

import cases_cache  # noqa: E402, F401

boot.CASES = {name: run for name, run in boot.CASES.items() if name.startswith("cache ")}
boot.run()
