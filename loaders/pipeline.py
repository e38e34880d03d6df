"""From a diffusers folder to its three loaded parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..families import TextEncoder, VideoModel, VideoVAE
from .errors import ModelFileError
from .folder import Folder
from .libraries import library, library_class
from .weights import build, check, fill


def load_pipeline(
    folder: Folder,
    *,
    model_dtype: torch.dtype | None,
    text_dtype: torch.dtype | None,
    vae_dtype: torch.dtype | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[VideoModel, TextEncoder, VideoVAE]:
    """Load all three parts. Every header is checked before the first tensor is read.

    Args:
        model_dtype, text_dtype, vae_dtype: storage dtypes; None keeps the files' own.
        on_progress: called with (tensors read, tensors in all).
    Raises:
        ModelFileError: weights that do not fit their config, a damaged file, a tokenizer that cannot be read.
    """
    dtypes = {"text_encoder": text_dtype, "vae": vae_dtype, "transformer": model_dtype}
    tokenizer = _tokenizer(folder.path / "tokenizer")
    parts: dict[str, nn.Module] = {}
    counts: dict[str, int] = {}
    for component in dtypes:
        parts[component] = build(folder.configs[component]["_class_name"], folder.configs[component])
        counts[component] = check(parts[component], folder.weights[component], folder.family.tied.get(component))
    total, before = sum(counts.values()), 0
    for component, dtype in dtypes.items():

        def tick(done: int, _: int, offset: int = before) -> None:
            if on_progress:
                on_progress(offset + done, total)

        tied = folder.family.tied.get(component)
        fill(parts[component], folder.weights[component], dtype=dtype, tied=tied, on_tensor=tick)
        before += counts[component]
    variant = folder.variant
    return (
        VideoModel(variant, parts["transformer"], folder.path),
        TextEncoder(variant, parts["text_encoder"], tokenizer, folder.path),
        VideoVAE(variant, parts["vae"], folder.path),
    )


def _tokenizer(path: Path) -> Any:
    library("transformers")
    loader: Any = library_class("AutoTokenizer")
    try:
        return loader.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exceptions on a damaged file
        raise ModelFileError(f"{path}: the tokenizer cannot be read ({error}). Get the folder again.") from error
