"""The embedded host: what the pack needs of ComfyUI, on plain torch, for scripts, tests and headless batches."""

from __future__ import annotations

from .objects import (
    Clip,
    Model,
    Vae,
    clip,
    decode,
    decode_stream,
    device_dtypes,
    embed,
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
    say,
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
    "decode_stream",
    "device_dtypes",
    "embed",
    "file_metadata",
    "input_folder",
    "interrupt",
    "model",
    "model_roots",
    "output_folder",
    "progress",
    "running",
    "sample",
    "say",
    "tokens",
    "vae",
    "variant",
    "video",
]
