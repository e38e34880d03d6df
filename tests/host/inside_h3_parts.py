"""Runs inside ComfyUI's Python: the cases of MiniMax H3's VAEs, text encoder and references."""

from __future__ import annotations

import boot

boot.start()

import cases_h3_text  # noqa: E402, F401
import cases_h3_vaes  # noqa: E402, F401

boot.run()
