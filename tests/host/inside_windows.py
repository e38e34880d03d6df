"""Runs inside ComfyUI's Python: the cases of windows over time."""

from __future__ import annotations

import boot

boot.start()

import cases_windows  # noqa: E402, F401

boot.run("windows ")
