"""Headers of HunyuanVideo's files."""

from __future__ import annotations

from functools import cache
from typing import Any

from opent2v.families.hunyuan_video import FAMILY, files
from opent2v.loaders.weights import build
from opent2v.tests.families.headers import Shapes, renamed_norms, shapes_of
from opent2v.tests.families.layouts.hunyuan_video import CLASS, in_comfyui, original

__all__ = ["FAMILY", "layouts", "networks", "vaes"]

CONFIGS: dict[str, dict[str, Any]] = {
    "HunyuanVideo T2V": {},
    "HunyuanVideo I2V": {"in_channels": 33, "guidance_embeds": False, "image_condition_type": "latent_concat"},
}


@cache
def networks() -> dict[str, Shapes]:
    few = {"num_layers": 2, "num_single_layers": 2}
    return {
        title: shapes_of(build(CLASS, files.transformer_config(**few, **changes))) for title, changes in CONFIGS.items()
    }


def layouts() -> dict[str, Shapes]:
    headers: dict[str, Shapes] = {}
    for title, changes in (("T2V", {}), ("I2V", {"channels": 33, "tells": False})):
        shapes = original(double=2, single=2, **changes)
        headers[f"HunyuanVideo {title}, original"] = shapes
        headers[f"HunyuanVideo {title}, ComfyUI before 0.14"] = in_comfyui(shapes)
        headers[f"HunyuanVideo {title}, ComfyUI"] = renamed_norms(in_comfyui(shapes))
    return headers


def vaes() -> dict[str, Shapes]:
    return {"HunyuanVideo, diffusers": shapes_of(build("AutoencoderKLHunyuanVideo", {}))}
