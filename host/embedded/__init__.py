"""The embedded host: what the pack needs of ComfyUI, on plain torch, for scripts, tests and headless batches."""

from __future__ import annotations

from .files import Missing, missing, model_files, tokenizer_folder
from .objects import (
    Clip,
    Model,
    Vae,
    apply_step_cache,
    clip,
    decode,
    decode_stream,
    device_dtypes,
    embed,
    encode,
    latent_channels,
    model,
    tokens,
    vae,
    variant,
    video,
)
from .sample import sample
from .settings import (
    Interrupted,
    check_interrupt,
    configure,
    file_metadata,
    input_folder,
    interrupt,
    model_roots,
    output_folder,
    progress,
    running,
)
from .vision import ClipVision, clip_vision

__all__ = [
    "Clip",
    "ClipVision",
    "Interrupted",
    "Missing",
    "Model",
    "Vae",
    "apply_step_cache",
    "check_interrupt",
    "clip",
    "clip_vision",
    "configure",
    "decode",
    "decode_stream",
    "device_dtypes",
    "embed",
    "encode",
    "file_metadata",
    "input_folder",
    "interrupt",
    "latent_channels",
    "missing",
    "model",
    "model_files",
    "model_roots",
    "output_folder",
    "progress",
    "running",
    "sample",
    "tokenizer_folder",
    "tokens",
    "vae",
    "variant",
    "video",
]
