"""The only door to the program the pack runs in: ComfyUI, or the small embedded host of the scripts and tests.

Both sides offer the names of `NAMES`. Inside ComfyUI, `folder_paths` is imported long before any pack.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .refused import InputRefused
from .tags import PROMPT_FAMILY

NAMES = (
    "Model",
    "apply_patches",
    "apply_step_cache",
    "audio_decoder",
    "check_interrupt",
    "clip",
    "clip_frames",
    "clip_vision",
    "decode",
    "decode_stream",
    "device_dtypes",
    "embed",
    "encode",
    "file_folders",
    "file_metadata",
    "fingerprint",
    "latent_channels",
    "missing",
    "model",
    "model_files",
    "model_roots",
    "nested",
    "output_folder",
    "patch_target",
    "profile_folder",
    "progress",
    "sample",
    "say",
    "teach_lora_loaders",
    "title",
    "tokenizer_folder",
    "tokens",
    "vae",
    "variant",
    "video",
)

if TYPE_CHECKING or "folder_paths" not in sys.modules:
    from . import embedded as side
    from .embedded import *  # noqa: F403
else:
    from . import comfyui as side
    from .comfyui import *  # noqa: F403

__all__ = [*NAMES, "PROMPT_FAMILY", "InputRefused", "side"]  # pyright: ignore[reportUnsupportedDunderAll]
