"""Headers of VideoCrafter's files."""

from __future__ import annotations

from functools import cache

from opent2v.families.videocrafter import FAMILY, describe, files
from opent2v.loaders.weights import build, extension
from opent2v.tests.families.headers import Shapes, shapes_of
from opent2v.tests.families.layouts.videocrafter import CONFIG
from opent2v.tests.tiny.videocrafter import original_unet_name, original_unet_shape

__all__ = ["FAMILY", "layouts", "networks"]


@cache
def networks() -> dict[str, Shapes]:
    variant = describe(CONFIG, files.SCALE)
    return {"VideoCrafter2": shapes_of(build("UNet3DConditionModel", CONFIG, extension(variant)))}


def layouts() -> dict[str, Shapes]:
    renamed = {original_unet_name(name, 2, 4): shape for name, shape in networks()["VideoCrafter2"].items()}
    return {"VideoCrafter2, original": {name: original_unet_shape(name, shape) for name, shape in renamed.items()}}
