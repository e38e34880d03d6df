"""CLIP image encoders in single files, in transformers' names: what ComfyUI keeps in models/clip_vision.

Source of the configs, which no shape tells whole: the repositories openai/clip-vit-large-patch14 and
laion/CLIP-ViT-H-14-laion2B-s32B-b79K, -bigG-14-laion2B-39B-b160k; ComfyUI 0.33.0's comfy/clip_vision.py has the same.
"""

from __future__ import annotations

from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..base import Shapes
from ..base.keys import Rule, rename
from .containers import open_container
from .errors import ModelFileError
from .resemblance import resembles
from .shards import refuse_shard
from .weights import build, fill

# Width of an encoder -> its activation: OpenAI's ViT-L, OpenCLIP's ViT-H and ViT-bigG.
_ACTIVATIONS = {1024: "quick_gelu", 1280: "gelu", 1664: "gelu"}
_HEADS = 16
_EMBEDDINGS = "vision_model.embeddings"
_LAYER = "vision_model.encoder.layers."
# What stands beside the encoder: numbers from 0 on, and the text half of a whole CLIP.
_OTHERS = (
    rename(f"^{_EMBEDDINGS}.position_ids"),
    *(rename(f"^{name}") for name in ("text_model", "text_projection", "logit_scale")),
)


def load_vision(path: Path, dtype: torch.dtype | None = None) -> nn.Module:
    """The image encoder of a file as transformers' CLIPVisionModel, or the one with a projection if the file has one.

    Args:
        dtype: what weights are stored as; None keeps the file's own.
    Raises:
        ModelFileError: it cannot be read, or holds no CLIP image encoder of the known sizes.
    """
    refuse_shard(path)
    shapes = {name: info.shape for name, info in open_container(path).header.items()}
    module = build(*_class_and_config(path, shapes))
    return fill(module, (path,), dtype=dtype, rules=_rules(module), from_folder=False)


def _class_and_config(path: Path, shapes: Shapes) -> tuple[str, dict[str, Any]]:
    try:
        width, _, patch, _ = shapes[f"{_EMBEDDINGS}.patch_embedding.weight"]
        squares = shapes[f"{_EMBEDDINGS}.position_embedding.weight"][0] - 1
        inner = shapes[f"{_LAYER}0.mlp.fc1.weight"][0]
        activation = _ACTIVATIONS[width]
    except (KeyError, ValueError, IndexError):
        looks = resembles(shapes)
        raise ModelFileError(
            f"{path}: no CLIP image encoder this pack knows ({len(shapes)} tensors, first "
            f"{next(iter(shapes), 'none')}). Expected ViT-L, ViT-H or ViT-bigG in transformers' names, such as "
            "clip_vision_h.safetensors, which Wan 2.1's image-to-video models read."
            + (f" It looks like {looks}." if looks else "")
        ) from None
    layers = {name.removeprefix(_LAYER).split(".")[0] for name in shapes if name.startswith(_LAYER)}
    projection = shapes.get("visual_projection.weight")
    config = {
        "hidden_size": width, "patch_size": patch, "image_size": patch * isqrt(squares), "intermediate_size": inner,
        "hidden_act": activation, "num_attention_heads": _HEADS, "num_hidden_layers": len(layers),
    }  # fmt: skip
    if projection is None:
        return "CLIPVisionModel", config
    return "CLIPVisionModelWithProjection", config | {"projection_dim": projection[0]}


def _rules(module: nn.Module) -> tuple[Rule, ...]:
    """Names of files to the module's: transformers 5.6 and newer leave out a level of CLIPVisionModel's."""
    has_level = any(name.startswith("vision_model.") for name, _ in module.named_parameters())
    return _OTHERS if has_level else (*_OTHERS, rename("^vision_model", ""))
