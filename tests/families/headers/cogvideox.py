"""Headers of CogVideoX's files."""

from __future__ import annotations

from functools import cache

import torch

from opent2v.families.cogvideox import FAMILY
from opent2v.loaders.weights import build
from opent2v.tests.families.headers import PREFIX, Shapes, shapes_of
from opent2v.tests.families.layouts.cogvideox import PUBLISHED, comfyui, original, original_vae

__all__ = ["FAMILY", "layouts", "networks", "vaes"]


@cache
def networks() -> dict[str, Shapes]:
    return {
        f"CogVideoX {name}": shapes_of(build("CogVideoXTransformer3DModel", config | {"num_layers": 2}))
        for name, (config, _) in PUBLISHED.items()
    }


def layouts() -> dict[str, Shapes]:
    headers: dict[str, Shapes] = {}
    for title, shapes in networks().items():
        state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        for layout, convert in (("original", original), ("ComfyUI", comfyui)):
            converted = {name.removeprefix(PREFIX): tuple(tensor.shape) for name, tensor in convert(state).items()}
            headers[f"{title}, {layout}"] = converted
    return headers


def vaes() -> dict[str, Shapes]:
    shapes = shapes_of(build("AutoencoderKLCogVideoX", {}))
    return {
        "CogVideoX, diffusers": shapes,
        "CogVideoX, original": {original_vae(name): shape for name, shape in shapes.items()},
    }
