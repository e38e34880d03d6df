"""Small random transformers in their makers' names, for files that pack them."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from opent2v.tests.families.layouts import hunyuan_video as hunyuan
from opent2v.tests.families.layouts import ltx_video as ltx
from opent2v.tests.families.layouts import wan as alibaba


def shapes(family: str, width: int, text: int, wan: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a transformer with one block of each kind.

    Args:
        width: of LTX-Video's and HunyuanVideo's hidden state.
        text: width of the prompt's embedding.
        wan: what Wan's config has besides.
    """
    if family == "wan":
        config = alibaba.TINY | {"text_dim": text, "freq_dim": text, "in_channels": 16, "num_layers": 1, **wan}
        named = alibaba.meta_shapes("WanTransformer3DModel", config)
        return {alibaba.original(name): shape for name, shape in named.items()}
    if family == "ltx_video":
        config = {
            "num_attention_heads": 32, "attention_head_dim": width // 32, "cross_attention_dim": width,
            "num_layers": 1, "caption_channels": text,
        }  # fmt: skip
        named = alibaba.meta_shapes("LTXVideoTransformer3DModel", config)
        return {ltx.original_transformer(name): shape for name, shape in named.items()}
    return hunyuan.original(double=1, single=1, refiners=1, width=width, text=text, pooled=text)


@cache
def drawn(sizes: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, Tensor]:
    """Random weights of these names and shapes, drawn in this order. Read them only."""
    dice = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in sizes:
        noise = torch.randn(shape, generator=dice)
        is_gain = len(shape) == 1 and name.endswith(".weight")
        state[name] = 1 + 0.1 * noise if is_gain else noise * (0.1 if len(shape) == 1 else shape[1] ** -0.5)
    return state
