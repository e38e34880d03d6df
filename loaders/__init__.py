"""From a path to a loaded model: header, family, weights."""

from __future__ import annotations

from .errors import ModelFileError
from .folder import Folder, is_model_folder, open_folder
from .header import TensorInfo, read_header, tensor_bytes
from .libraries import MissingLibrary, library, library_class
from .pipeline import Pipeline, load_pipeline
from .weights import DTYPES, FP8

__all__ = [
    "DTYPES",
    "FP8",
    "Folder",
    "MissingLibrary",
    "ModelFileError",
    "Pipeline",
    "TensorInfo",
    "is_model_folder",
    "library",
    "library_class",
    "load_pipeline",
    "open_folder",
    "read_header",
    "tensor_bytes",
]
