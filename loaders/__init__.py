"""From a path to a loaded model: header, family, weights."""

from __future__ import annotations

from ..base.storage import DTYPES
from .containers import endings, open_container
from .errors import ModelFileError
from .folder import INDEX, Folder, is_model_folder, open_folder
from .header import TensorInfo, most_stored, parameter_counts, tensor_bytes
from .identity import files_identity
from .kept_prompts import KeptPrompt, KeptPrompts
from .libraries import MissingLibrary, library, library_class
from .pipeline import Pipeline, load_folder_sound, load_folder_text, load_pipeline, text_files
from .quantised import Quantisation
from .resemblance import LOAD_VAE
from .single import ModelFile, load_model, load_sound_vae, load_vae, open_file
from .text_file import (
    TextFile,
    find_text,
    load_text,
    match_text,
    open_text_file,
    open_text_files,
    wanted_kinds,
)
from .upscaler import UpscalerFile, load_upscaler, open_upscaler
from .vision_file import load_vision

__all__ = [
    "DTYPES",
    "INDEX",
    "LOAD_VAE",
    "Folder",
    "KeptPrompt",
    "KeptPrompts",
    "MissingLibrary",
    "ModelFile",
    "ModelFileError",
    "Pipeline",
    "Quantisation",
    "TensorInfo",
    "TextFile",
    "UpscalerFile",
    "endings",
    "files_identity",
    "find_text",
    "is_model_folder",
    "library",
    "library_class",
    "load_folder_sound",
    "load_folder_text",
    "load_model",
    "load_pipeline",
    "load_sound_vae",
    "load_text",
    "load_upscaler",
    "load_vae",
    "load_vision",
    "match_text",
    "most_stored",
    "open_container",
    "open_file",
    "open_folder",
    "open_text_file",
    "open_text_files",
    "open_upscaler",
    "parameter_counts",
    "tensor_bytes",
    "text_files",
    "wanted_kinds",
]
