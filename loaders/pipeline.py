"""From a diffusers folder to its three loaded parts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..families import TextEncoder, VideoModel, VideoVAE
from .folder import Folder
from .libraries import library, library_class
from .weights import build, fill


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
    """
    dtypes = {"text_encoder": text_dtype, "vae": vae_dtype, "transformer": model_dtype}
    counts = {component: len(folder.headers(component)) for component in dtypes}
    total, before = sum(counts.values()), 0
    parts: dict[str, nn.Module] = {}
    for component, dtype in dtypes.items():
        config = folder.configs[component]
        class_name = config.get("_class_name") or folder.configs["index"][component][-1]

        def tick(done: int, _: int, offset: int = before) -> None:
            if on_progress:
                on_progress(offset + done, total)

        module = build(class_name, config)
        tied = folder.family.tied.get(component)
        parts[component] = fill(module, folder.weights[component], dtype=dtype, tied=tied, on_tensor=tick)
        before += counts[component]
    library("transformers")
    tokenizer = library_class("AutoTokenizer").from_pretrained(  # pyright: ignore[reportAttributeAccessIssue]
        folder.path / "tokenizer", local_files_only=True, trust_remote_code=False
    )
    variant = folder.variant
    return (
        VideoModel(variant, parts["transformer"], folder.path),
        TextEncoder(variant, parts["text_encoder"], tokenizer, folder.path),
        VideoVAE(variant, parts["vae"], folder.path),
    )
