"""The official TeaCache set of HunyuanVideo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...base import TeaCache, Variant
from ...base.teacache import normed


def signal(block: nn.Module, named: Mapping[str, Any]) -> Tensor:
    """The video's tokens as the first block normalises and modulates them: the makers' block, or diffusers'."""
    parts = dict(block.named_children())
    if "img_mod" not in parts:
        return normed(block, named)
    first, _ = parts["img_mod"](named["vec"])
    return parts["img_norm1"](named["img"]) * (1 + first.scale) + first.shift


_T2V = TeaCache((7.33226126e02, -4.01131952e02, 6.75869174e01, -3.14987800e00, 9.61237896e-02), 0.0, 0.5, signal)


def teacache(variant: Variant) -> TeaCache | None:
    return _T2V if variant.name == "T2V" else None
