"""Runs inside ComfyUI's Python: the cases of MiniMax H3 from our loaders."""

from __future__ import annotations

import boot

boot.start()

import cases_h3  # noqa: E402, F401

boot.run()
