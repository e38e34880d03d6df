"""ComfyUI's side of the door: the pack's parts as the host's own MODEL, CLIP and VAE. See `contract.Host`."""

from __future__ import annotations

# Checked first: in an older host the other imports would fail in some unrelated way.
from ..comfyui import floor

# Imported by the full path: with `from .clip import clip` the type checker would mix up the file and the function.
from ..comfyui.clip import Clip, clip, embed, late_clip, shows, text_identity, tokens
from ..comfyui.identity import fingerprint
from ..comfyui.install import install
from ..comfyui.model import Model, device_dtypes, model, path, variant
from ..comfyui.nested import nested
from ..comfyui.sample import sample
from ..comfyui.upscale import upscale
from ..comfyui.vae import Vae, clip_frames, decode, decode_stream, encode, latent_channels, vae, video
from .cache import apply_step_cache
from .files import missing, model_files, tokenizer_folder
from .known import title
from .memory import device_memory
from .patches import apply_patches, few_steps, patch_target, with_few_steps
from .place import (
    file_folders,
    file_metadata,
    language,
    model_roots,
    node_outputs,
    output_folder,
    profile_folder,
    progress,
    prompt_folder,
    say,
    show,
)
from .quantised import packed_arithmetic
from .sound import audio_decoder
from .training import training_model
from .vision import clip_vision
from .windows import apply_windows, travelling
