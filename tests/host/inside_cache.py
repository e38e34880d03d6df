"""Runs inside ComfyUI's Python: the step cache's cases."""

from __future__ import annotations

import boot

boot.start()

import cases_cache  # noqa: E402, F401

boot.run("cache ")
