"""Runs inside ComfyUI's Python: a model whose weights stay packed, as one line of JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import boot

boot.start(Path(sys.argv[1]))

import cases_packed  # noqa: E402, F401

boot.run()
