"""ComfyUI's side of the door: the pack's parts as the host's own MODEL, CLIP and VAE."""

from __future__ import annotations

from .clip import clip, embed, tokens
from .model import Model, device_dtypes, model, variant
from .place import (
    check_interrupt,
    file_metadata,
    input_folder,
    model_roots,
    output_folder,
    progress,
    register_models,
    say,
)
from .sample import sample
from .vae import decode, decode_stream, vae, video

# The pack's own models become a further place where the host looks.
register_models()

__all__ = [
    "Model",
    "check_interrupt",
    "clip",
    "decode",
    "decode_stream",
    "device_dtypes",
    "embed",
    "file_metadata",
    "input_folder",
    "model",
    "model_roots",
    "output_folder",
    "progress",
    "sample",
    "say",
    "tokens",
    "vae",
    "variant",
    "video",
]
