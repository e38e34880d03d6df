"""LoRA files: their format, how they match a model, and their tensors."""

from __future__ import annotations

from .file import Adapter, LoraFile, held_lora, read_lora, sidecars
from .load import load_patches, patches_of
from .match import Verdict, match
from .origin import format_of, origin_text, step_remark
from .rebase import rebased

__all__ = [
    "Adapter",
    "LoraFile",
    "Verdict",
    "format_of",
    "held_lora",
    "load_patches",
    "match",
    "origin_text",
    "patches_of",
    "read_lora",
    "rebased",
    "sidecars",
    "step_remark",
]
