"""ComfyUI's side of the door: the pack's parts as the host's own MODEL, CLIP and VAE."""

from __future__ import annotations

from . import floor  # noqa: F401 - first: an older host would break the others in some way of its own
from .cache import apply_step_cache
from .clip import clip, embed, tokens
from .files import missing, model_files, tokenizer_folder
from .known import title
from .lora_loaders import teach_lora_loaders
from .model import Model, device_dtypes, fingerprint, model, variant
from .nested import nested
from .patches import apply_patches, patch_target
from .place import (
    check_interrupt,
    file_folders,
    file_metadata,
    model_roots,
    output_folder,
    profile_folder,
    progress,
    register_models,
    say,
)
from .sample import sample
from .sound import audio_decoder
from .vae import clip_frames, decode, decode_stream, encode, latent_channels, vae, video
from .vision import clip_vision

# The pack's own models become a further place where the host looks.
register_models()

__all__ = [
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
]
