"""Runs inside ComfyUI's Python: the cases of core's models that make picture and sound."""

from __future__ import annotations

import boot

boot.start()

import cases_joint  # noqa: E402, F401

boot.run()
