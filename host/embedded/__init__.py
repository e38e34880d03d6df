"""The embedded host: what the pack needs of ComfyUI, on plain torch, for scripts, tests and headless batches."""

from __future__ import annotations

from .files import Missing, missing, model_files, tokenizer_folder
from .objects import Clip, Model, Vae, clip, decode, device_dtypes, embed, model, tokens, vae, variant
from .sample import sample
from .settings import (
    Interrupted,
    check_interrupt,
    configure,
    file_metadata,
    interrupt,
    model_roots,
    output_folder,
    progress,
    running,
    say,
)

__all__ = [
    "Clip",
    "Interrupted",
    "Missing",
    "Model",
    "Vae",
    "check_interrupt",
    "clip",
    "configure",
    "decode",
    "device_dtypes",
    "embed",
    "file_metadata",
    "interrupt",
    "missing",
    "model",
    "model_files",
    "model_roots",
    "output_folder",
    "progress",
    "running",
    "sample",
    "say",
    "tokenizer_folder",
    "tokens",
    "vae",
    "variant",
]
