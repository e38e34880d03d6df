"""Every family's tiny model, with a clip as its trainer sees it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from opent2v.finetune.objective import Sample
from opent2v.host import embedded
from opent2v.host.training import TrainingModel
from opent2v.loaders import load_model, open_file
from opent2v.tests.tiny import (
    cogvideox,
    hunyuan_video,
    ltx2,
    ltx_video,
    mochi,
    open_sora,
    videocrafter,
    wan,
    wan_variants,
)

PROMPT = "a red triangle moving to the right on a black background"


def _file(tensors: dict[str, torch.Tensor]) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="opent2v-tests-"))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "ltx.safetensors")
    return folder / "ltx.safetensors"


@cache
def ltx2_model(version: str) -> Any:
    return embedded.model(load_model(open_file(_file(ltx2.all_in_one(version))), torch.float32))


def _expert(kind: str, number: int) -> Any:
    return embedded.model(wan.pipeline(wan_variants.folder(kind)).models[number])


# Name -> the MODEL.
MODELS: dict[str, Callable[[], Any]] = {
    "wan": lambda: wan.shared()[0],
    "wan ti2v": lambda: wan.shared("ti2v")[0],
    "wan high": lambda: _expert("t2v_a14b", 0),
    "wan low": lambda: _expert("t2v_a14b", 1),
    "cogvideox 2b": lambda: cogvideox.shared("2b")[0],
    "cogvideox 1.5": lambda: cogvideox.shared("1.5")[0],
    "hunyuan_video": lambda: hunyuan_video.hosted()[0],
    "ltx_video": lambda: ltx_video.shared("0.9.1")[0],
    "ltx2 2.0": lambda: ltx2_model("2.0"),
    "ltx2 2.3": lambda: ltx2_model("2.3"),
    "mochi": lambda: mochi.hosted()[0],
    "open_sora": lambda: open_sora.hosted()[0],
    "videocrafter": lambda: videocrafter.hosted()[0],
}


@cache
def hosted(name: str) -> Any:
    """The MODEL of a family, shared by all tests: a test that trains takes its adapter off again."""
    return MODELS[name]()


def training_model(name: str) -> TrainingModel:
    return embedded.training_model(hosted(name))


def entry_of(variant: Any, pooled: int) -> dict[str, Any]:
    """A prompt's entries of the widths that the model reads, drawn at random."""
    generator = torch.Generator().manual_seed(1)
    tokens = variant.prompts[0].max_tokens
    if variant.family.id == "ltx2":
        width = variant.context_width if variant.facts["shares_text"] else sum(variant.facts["context_widths"])
        return {"cross_attn": torch.randn(1, 7, width, generator=generator), "unprocessed_ltxav_embeds": True}
    context = torch.randn(1, tokens, variant.context_width, generator=generator)
    return {"cross_attn": context, "pooled_output": torch.randn(1, pooled, generator=generator)}


def shapes_of(name: str) -> list[tuple[int, ...]]:
    """Of a LATENT of the model's own size, [1, C, ...] for each stream, without padding frames."""
    variant = hosted(name).part.variant
    defaults = variant.defaults
    frames = defaults.frames if defaults.frames < 30 else variant.geometry.frame_step + 1
    width, height = (defaults.width, defaults.height) if defaults.width < 128 else (96, 64)
    return [(1, *stream.latent_shape(width, height, frames, defaults.fps)) for stream in variant.streams]


def sample_of(name: str, seed: int = 0, pictures: bool = False) -> Sample:
    """A clip of the model's own size: random latents, and a random prompt."""
    part = hosted(name).part
    variant, pooled = part.variant, getattr(part.transformer.config, "pooled_projection_dim", 1)
    generator = torch.Generator().manual_seed(seed)
    latents = [torch.randn(shape, generator=generator) for shape in shapes_of(name)]
    streams = tuple(s.pad_front(latent) for s, latent in zip(variant.streams, latents, strict=True))
    sample = Sample(streams, entry_of(variant, pooled))
    if not pictures:
        return sample
    mask = torch.ones_like(streams[0][:, :1])
    mask[:, :, 0] = 0
    return dataclasses.replace(sample, mask=mask, known=torch.randn(streams[0].shape, generator=generator))
