"""Headers of Mochi's files."""

from __future__ import annotations

from opent2v.families.mochi import FAMILY
from opent2v.loaders.weights import build
from opent2v.tests.families.headers import Shapes, shapes_of
from opent2v.tests.families.layouts.mochi import original_transformer

__all__ = ["FAMILY", "layouts", "networks", "vaes"]


def networks() -> dict[str, Shapes]:
    return {"Mochi 1": shapes_of(build("MochiTransformer3DModel", {"num_layers": 2}))}


def layouts() -> dict[str, Shapes]:
    return {"Mochi 1, original": original_transformer(2)}


def vaes() -> dict[str, Shapes]:
    return {"Mochi 1, diffusers": shapes_of(build("AutoencoderKLMochi", {}))}
