"""The embedded host: what the pack needs of ComfyUI, on plain torch, for scripts, tests and headless batches."""

from __future__ import annotations

from .objects import Clip, Model, Vae, clip, decode, device_dtypes, embed, latent_channels, model, tokens, vae, variant
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
)

__all__ = [
    "Clip",
    "Interrupted",
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
    "latent_channels",
    "model",
    "model_roots",
    "output_folder",
    "progress",
    "running",
    "sample",
    "tokens",
    "vae",
    "variant",
]
