"""Runs inside ComfyUI's Python: packed files of every format. See `cases_packed.py`."""

from __future__ import annotations

import boot

boot.start()

import cases_packed  # noqa: E402, F401

boot.run("packed")
