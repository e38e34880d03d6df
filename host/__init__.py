"""The only door to the program the pack runs in: ComfyUI, or the small embedded host of the scripts and tests.

Both sides offer the same names (`NAMES`). Inside ComfyUI, `folder_paths` is imported long before any pack.
"""

from __future__ import annotations

import sys

NAMES = (
    "Model",
    "check_interrupt",
    "clip",
    "decode",
    "device_dtypes",
    "embed",
    "file_metadata",
    "model",
    "model_roots",
    "output_folder",
    "progress",
    "sample",
    "say",
    "tokens",
    "vae",
    "variant",
)

if "folder_paths" in sys.modules:
    from . import comfyui as side
else:
    from . import embedded as side

for _name in NAMES:
    globals()[_name] = getattr(side, _name)

__all__ = [*NAMES, "side"]  # pyright: ignore[reportUnsupportedDunderAll]
