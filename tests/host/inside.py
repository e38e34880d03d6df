"""Runs inside ComfyUI's Python: the cases that share one ComfyUI. See `boot.py`."""

from __future__ import annotations

import boot

boot.start()

import cases_contract  # noqa: E402, F401
import cases_core  # noqa: E402, F401
import cases_objects  # noqa: E402, F401
import cases_ours  # noqa: E402, F401
import cases_prompt_cache  # noqa: E402, F401
import cases_saving  # noqa: E402, F401

boot.run()
