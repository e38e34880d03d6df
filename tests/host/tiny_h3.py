"""Tiny MiniMax H3 files for both loaders, core's and ours. In ComfyUI's Python."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import comfy.nested_tensor
import folder_paths
import torch
from boot import call, scratch

from opent2v.host import host
from opent2v.loaders.single import load_model, open_file
from opent2v.tests.tiny import minimax_h3 as tiny

FOLDER = scratch()
folder_paths.add_model_folder_path("diffusion_models", str(FOLDER))
folder_paths.add_model_folder_path("loras", str(FOLDER))
folder_paths.set_output_directory(str(FOLDER / "output"))
KINDS = tuple(tiny.TABLE)


@functools.cache
def file(kind: str) -> Path:
    return tiny.save(FOLDER / f"h3_{kind}.safetensors", tiny.originals(kind))


@functools.cache
def cores(kind: str) -> Any:
    return call("UNETLoader", unet_name=file(kind).name, weight_dtype="default")


@functools.cache
def ours(kind: str, side: Any = host) -> Any:
    return side.model(load_model(open_file(file(kind)), torch.float32))


def nested(*streams: torch.Tensor) -> Any:
    return comfy.nested_tensor.NestedTensor(streams)


def conditioning(tokens: int = 9, seed: int = 1, **entries: Any) -> Any:
    drawn = torch.randn(1, tokens, tiny.TEXT, generator=torch.Generator().manual_seed(seed))
    return [[drawn, dict(entries)]]
