"""Small transformers and text encoders in their makers' names, wide enough for every packed format."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from opent2v.tests.loaders import text_files
from opent2v.tests.tiny import makers

# Shapes of latents [B, C, T, h, w] and of contexts [B, L, width], for one call of the network.
LATENT = {"wan": (1, 16, 2, 4, 4), "ltx_video": (1, 128, 2, 2, 2), "hunyuan_video": (1, 16, 2, 4, 4)}
TEXT = 64
FAMILIES = tuple(LATENT)


def state(family: str) -> dict[str, Tensor]:
    """Random weights of a transformer with one block of each kind, in the makers' names. Read them only."""
    shapes = makers.shapes(family, 128, TEXT, {"ffn_dim": 256})
    return dict(makers.drawn(tuple(sorted(shapes.items()))))


@cache
def _text_state(is_umt5: bool) -> dict[str, Tensor]:
    return text_files.once(text_files.t5(is_umt5, width=TEXT).state_dict())


def text_state(is_umt5: bool) -> dict[str, Tensor]:
    """Random weights of a T5, 64 wide, as files have them. Read them only."""
    return dict(_text_state(is_umt5))
