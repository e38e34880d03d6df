"""The embedded host: what the pack needs of ComfyUI, on plain torch, for scripts, tests and headless batches.

See `contract.Host`. It ships, since the pack is also imported where no ComfyUI runs: by what lists its nodes.
"""

from __future__ import annotations

# Imported by the full path: with `from .clip import clip` the type checker would mix up the file and the function.
from ..embedded.clip import Clip, clip, embed, late_clip, shows, text_identity, tokens
from ..embedded.identity import fingerprint
from ..embedded.install import install
from ..embedded.model import Model, device_dtypes, model, path, title, variant
from ..embedded.nested import nested
from ..embedded.sample import sample
from ..embedded.vae import (
    AudioVae,
    Vae,
    clip_frames,
    decode,
    decode_stream,
    encode,
    latent_channels,
    upscale,
    vae,
    video,
)
from .cache import apply_step_cache
from .files import Missing, missing, model_files, tokenizer_folder
from .machine import device_memory
from .ops import packed_arithmetic
from .patches import apply_patches, few_steps, patch_target, with_few_steps
from .place import (
    Interrupted,
    check_interrupt,
    configure,
    file_folders,
    file_metadata,
    interrupt,
    language,
    model_roots,
    node_outputs,
    output_folder,
    profile_folder,
    progress,
    prompt_folder,
    running,
    save_into,
    say,
    show,
    speak,
)
from .sound import audio_decoder
from .training import training_model
from .vision import ClipVision, clip_vision
from .windows import apply_windows, travelling
