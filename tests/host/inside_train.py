"""Runs inside ComfyUI's Python: the cases of training a LoRA."""

from __future__ import annotations

import boot

boot.start()

import cases_train  # noqa: E402, F401

boot.run()
