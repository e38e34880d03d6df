"""Headers of LTX-2's files."""

from __future__ import annotations

from opent2v.families.ltx2 import FAMILY
from opent2v.tests.families.headers import Shapes
from opent2v.tests.families.layouts import ltx2 as layout
from opent2v.tests.tiny import ltx2 as tiny

__all__ = ["FAMILY", "layouts", "networks", "vaes"]


def networks() -> dict[str, Shapes]:
    return {f"LTX-2 {version}": dict(layout.published(version, 2)[1]) for version in layout.VERSIONS}


def layouts() -> dict[str, Shapes]:
    return {
        f"{title}, original": {layout.original(name): shape for name, shape in shapes.items()}
        for title, shapes in networks().items()
    }


def vaes() -> dict[str, Shapes]:
    return {
        f"LTX-2 {kind}, original": {name: tuple(tensor.shape) for name, tensor in tiny.video_vae(kind).items()}
        for kind in tiny.VIDEO_VAES
    }
