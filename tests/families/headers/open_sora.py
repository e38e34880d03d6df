"""Headers of Open-Sora's files; its VAE is HunyuanVideo's."""

from __future__ import annotations

from opent2v.families.open_sora import FAMILY, files
from opent2v.loaders.weights import build
from opent2v.tests.families.headers import Shapes, renamed_norms, shapes_of
from opent2v.tests.families.layouts.open_sora import CLASS, original

__all__ = ["FAMILY", "layouts", "networks"]


def networks() -> dict[str, Shapes]:
    config = files.transformer_config(num_layers=2, num_single_layers=2)
    return {"Open-Sora 2.0": shapes_of(build(CLASS, config))}


def layouts() -> dict[str, Shapes]:
    headers: dict[str, Shapes] = {}
    for fused in (False, True):
        shapes = original(fused, double=2, single=2)
        headers[f"Open-Sora 2.0, original{', fused' * fused}"] = shapes
        headers[f"Open-Sora 2.0, norms renamed{', fused' * fused}"] = renamed_norms(shapes)
    return headers
