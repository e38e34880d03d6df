"""Runs inside ComfyUI's Python: the cases under dynamic VRAM loading; an empty report where this ComfyUI has none."""

from __future__ import annotations

import boot

boot.start()

import dynamic  # noqa: E402

if dynamic.is_there():
    dynamic.start()
    import cases_dynamic  # noqa: F401

boot.run("dynamic")
