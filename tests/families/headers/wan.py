"""Headers of Wan's files."""

from __future__ import annotations

from functools import cache

from opent2v.families.wan import FAMILY
from opent2v.families.wan.variants import VAES
from opent2v.loaders.weights import build
from opent2v.tests.families.headers import Shapes, shapes_of
from opent2v.tests.families.layouts.wan import FIVE, LARGE, PICTURE, SMALL, meta_shapes, original, original_vae

__all__ = ["FAMILY", "layouts", "networks", "vaes"]

CONFIGS = {
    "Wan 2.1 T2V 1.3B": SMALL, "Wan 2.1 I2V 14B": PICTURE,
    "Wan 2.1 FLF2V 14B": PICTURE | {"pos_embed_seq_len": 514}, "Wan 2.2 TI2V 5B": FIVE,
    "Wan 2.2 I2V A14B": LARGE | {"in_channels": 36},
}  # fmt: skip


@cache
def networks() -> dict[str, Shapes]:
    return {
        title: shapes_of(build("WanTransformer3DModel", config | {"num_layers": 2}))
        for title, config in CONFIGS.items()
    }


def layouts() -> dict[str, Shapes]:
    return {
        f"{title}, original": {original(name): shape for name, shape in shapes.items()}
        for title, shapes in networks().items()
    }


def vaes() -> dict[str, Shapes]:
    files: dict[str, Shapes] = {}
    for channels, config in VAES.items():
        shapes = meta_shapes("AutoencoderKLWan", config)
        files[f"Wan {channels}, diffusers"] = shapes
        files[f"Wan {channels}, original"] = {original_vae(n, channels == 48): s for n, s in shapes.items()}
    return files
