"""Small transformers and text encoders in their makers' names, wide enough for every packed format."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from opent2v.tests.families.layouts import hunyuan_video as hunyuan
from opent2v.tests.families.layouts import ltx_video as ltx
from opent2v.tests.families.layouts import wan as alibaba
from opent2v.tests.loaders import text_files

# Shapes of latents [B, C, T, h, w] and of contexts [B, L, width], for one call of the network.
LATENT = {"wan": (1, 16, 2, 4, 4), "ltx_video": (1, 128, 2, 2, 2), "hunyuan_video": (1, 16, 2, 4, 4)}
TEXT = 64
FAMILIES = tuple(LATENT)


def _shapes(family: str) -> dict[str, tuple[int, ...]]:
    if family == "wan":
        config = alibaba.TINY | {"text_dim": TEXT, "freq_dim": TEXT, "ffn_dim": 256, "in_channels": 16, "num_layers": 1}
        shapes = alibaba.meta_shapes("WanTransformer3DModel", config)
        return {alibaba.original(name): shape for name, shape in shapes.items()}
    if family == "ltx_video":
        config = {
            "num_attention_heads": 32, "attention_head_dim": 4, "cross_attention_dim": 128, "num_layers": 1,
            "caption_channels": TEXT,
        }  # fmt: skip
        shapes = alibaba.meta_shapes("LTXVideoTransformer3DModel", config)
        return {ltx.original_transformer(name): shape for name, shape in shapes.items()}
    return hunyuan.original(double=1, single=1, refiners=1, width=128, text=TEXT, pooled=TEXT)


@cache
def _state(family: str) -> dict[str, Tensor]:
    dice = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in sorted(_shapes(family).items()):
        drawn = torch.randn(shape, generator=dice)
        is_gain = len(shape) == 1 and name.endswith(".weight")
        state[name] = 1 + 0.1 * drawn if is_gain else drawn * (0.1 if len(shape) == 1 else shape[1] ** -0.5)
    return state


def state(family: str) -> dict[str, Tensor]:
    """Random weights of a transformer with one block of each kind, in the makers' names. Read them only."""
    return dict(_state(family))


@cache
def _text_state(is_umt5: bool) -> dict[str, Tensor]:
    return text_files.once(text_files.t5(is_umt5, width=TEXT).state_dict())


def text_state(is_umt5: bool) -> dict[str, Tensor]:
    """Random weights of a T5, 64 wide, as files have them. Read them only."""
    return dict(_text_state(is_umt5))
