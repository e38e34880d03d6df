"""Runs inside ComfyUI's Python: packed files under dynamic VRAM loading; an empty report where there is none."""

from __future__ import annotations

import boot

boot.start()

import dynamic  # noqa: E402

if dynamic.is_there():
    dynamic.start()
    import cases_packed  # noqa: F401

boot.run("packed wan")
