"""Runs inside ComfyUI's Python: the cases of LTX-2 from our loaders."""

from __future__ import annotations

import boot

boot.start()

import cases_ltx2  # noqa: E402, F401
import cases_ltx2_more  # noqa: E402, F401

boot.run()
