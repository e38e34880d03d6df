"""A tiny CLIP image encoder, and files of it as people have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

WIDTH = 64


def encoder(has_projection: bool = True) -> Any:
    """Random weights, as transformers' class."""
    from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=96, num_hidden_layers=3, num_attention_heads=16, image_size=28,
        patch_size=14, projection_dim=24, hidden_act="gelu",
    )  # fmt: skip
    return (CLIPVisionModelWithProjection if has_projection else CLIPVisionModel)(config).eval()


def state(module: Any) -> dict[str, Tensor]:
    """Its weights under the names of files."""
    return {
        name if name.startswith(("vision_model.", "visual_projection.")) else f"vision_model.{name}": tensor
        for name, tensor in module.state_dict().items()
    }


def save(path: Path, module: Any, further: Mapping[str, Tensor] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({**state(module), **(further or {})}, path)
    return path
