"""Runs inside ComfyUI's Python: the LoRA cases."""

from __future__ import annotations

import boot

boot.start()

import cases_lora  # noqa: E402, F401
import cases_lora_core  # noqa: E402, F401
import cases_lora_scaled  # noqa: E402, F401

boot.run("lora")
