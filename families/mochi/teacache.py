"""The official TeaCache set of Mochi."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ...base import TeaCache, Variant
from ...base.teacache import EPSILON, normed


def signal(block: nn.Module, named: Mapping[str, Any]) -> Tensor:
    """The video's tokens as the first block normalises and modulates them: the makers' block, or diffusers'."""
    parts = dict(block.named_children())
    if "mod_x" not in parts:
        return normed(block, named)
    x, scale = named["x"], parts["mod_x"](functional.silu(named["c"])).chunk(4, dim=1)[0]
    return functional.rms_norm(x, x.shape[-1:], eps=EPSILON) * (1 + scale[:, None])


_1 = TeaCache((-3.51241319e03, 8.11675948e02, -6.09400215e01, 2.42429681e00, 3.05291719e-03), 0.0, 0.1442, signal)


def teacache(variant: Variant) -> TeaCache | None:
    return _1 if variant.name == "1" else None
