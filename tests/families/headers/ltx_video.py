"""Headers of LTX-Video's files."""

from __future__ import annotations

from functools import cache

from opent2v.families.ltx_video import FAMILY
from opent2v.loaders.weights import build
from opent2v.tests.families.headers import Shapes, shapes_of
from opent2v.tests.families.layouts.ltx_video import SIZES, VAES, original_transformer, vae_shapes, written

__all__ = ["FAMILY", "layouts", "networks", "vaes"]


@cache
def networks() -> dict[str, Shapes]:
    return {
        f"LTX-Video {size}": shapes_of(build("LTXVideoTransformer3DModel", config | {"num_layers": 2}))
        for size, config in SIZES.items()
    }


def layouts() -> dict[str, Shapes]:
    return {
        f"{title}, original": {original_transformer(name): shape for name, shape in shapes.items()}
        for title, shapes in networks().items()
    }


def vaes() -> dict[str, Shapes]:
    return {
        f"LTX-Video {version}, {layout}": written(vae_shapes(version), layout, version=version)
        for version in VAES
        for layout in ("diffusers", "original")
    }
