"""Latent upscalers in single files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..base.recognise import json_object
from ..base.upscaler import UpscalerLayout
from ..families import families
from .containers import open_container
from .errors import ModelFileError
from .quantised import split_header
from .resemblance import UPSCALE_LATENT, resembles
from .shards import refuse_shard
from .weights import build, fill


@dataclass(frozen=True)
class UpscalerFile:
    """A recognised latent upscaler; no tensor is read yet."""

    path: Path
    layout: UpscalerLayout


def open_upscaler(path: Path) -> UpscalerFile:
    """Recognise a latent upscaler from a file's header.

    Raises:
        ModelFileError: it cannot be read, or holds no latent upscaler that a family of this pack has.
    """
    refuse_shard(path)
    container = open_container(path)
    header, _ = split_header(container)
    shapes = {name: info.shape for name, info in header.items()}
    config = json_object(container.metadata.get("config"))
    having = [family for family in families().values() if family.upscaler is not None]
    for family in having:
        layout = family.upscaler(shapes, config) if family.upscaler else None
        if layout is not None:
            return UpscalerFile(path, layout)
    looks = resembles(shapes, UPSCALE_LATENT)
    raise ModelFileError(
        f"{path}: no latent upscaler this pack knows ({len(shapes)} tensors, first {next(iter(shapes), 'none')}). "
        f"Expected one of {' or '.join(family.title for family in having)}."
        + (f" It looks like {looks}." if looks else "")
    )


def load_upscaler(
    file: UpscalerFile, dtype: torch.dtype | None, on_progress: Callable[[int, int], None] | None = None
) -> nn.Module:
    """
    Args:
        dtype: to store and compute in; None keeps the file's own.
        on_progress: called with (bytes read, bytes in all).
    Raises:
        ModelFileError: a tensor is missing, surplus or of another shape.
    """
    module = build(file.layout.class_name, file.layout.config)
    return fill(module, (file.path,), dtype=dtype, from_folder=False, on_bytes=on_progress)
