"""Runs inside ComfyUI's Python: starts it, runs every case and prints the results as one line of JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import boot

boot.start(Path(sys.argv[1]))

import cases_contract  # noqa: E402, F401
import cases_core  # noqa: E402, F401
import cases_objects  # noqa: E402, F401
import cases_ours  # noqa: E402, F401
import cases_saving  # noqa: E402, F401

boot.run()
