"""The real ComfyUI of the tests that are marked `host`."""

from __future__ import annotations

from opent2v.tests.comfyui import comfyui, python

__all__ = ["comfyui", "python"]
