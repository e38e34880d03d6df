"""Runs inside ComfyUI's Python: the attention cases."""

from __future__ import annotations

import boot

boot.start()

import cases_attention  # noqa: E402, F401

boot.run()
