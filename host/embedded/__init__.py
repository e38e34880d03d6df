"""The embedded host: what the pack needs of ComfyUI, on plain torch, for scripts, tests and headless batches."""

from __future__ import annotations

from .cache import apply_step_cache
from .clip import Clip, clip, embed, tokens
from .files import Missing, missing, model_files, tokenizer_folder
from .model import Model, device_dtypes, fingerprint, model, title, variant
from .nested import nested
from .patches import apply_patches, patch_target, teach_lora_loaders
from .place import (
    Interrupted,
    check_interrupt,
    configure,
    file_folders,
    file_metadata,
    interrupt,
    model_roots,
    output_folder,
    profile_folder,
    progress,
    running,
    say,
)
from .sample import sample
from .sound import audio_decoder
from .vae import Vae, clip_frames, decode, decode_stream, encode, latent_channels, vae, video
from .vision import ClipVision, clip_vision

__all__ = [
    "Clip",
    "ClipVision",
    "Interrupted",
    "Missing",
    "Model",
    "Vae",
    "apply_patches",
    "apply_step_cache",
    "audio_decoder",
    "check_interrupt",
    "clip",
    "clip_frames",
    "clip_vision",
    "configure",
    "decode",
    "decode_stream",
    "device_dtypes",
    "embed",
    "encode",
    "file_folders",
    "file_metadata",
    "fingerprint",
    "interrupt",
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
    "running",
    "sample",
    "say",
    "teach_lora_loaders",
    "title",
    "tokenizer_folder",
    "tokens",
    "vae",
    "variant",
    "video",
]
