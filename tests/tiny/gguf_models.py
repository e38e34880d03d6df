"""Small transformers in their makers' names with 256 columns, which is a row of GGUF's largest blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from opent2v.tests.loaders.gguf_files import BY_CODE, Blocks, random_blocks
from opent2v.tests.tiny import makers

WIDTH = 256
TITLES = {"wan": "Wan", "ltx_video": "LTX-Video", "hunyuan_video": "HunyuanVideo"}
FAMILIES = tuple(TITLES)
# Layers of each, as the library's module names them; the first comes out of a fused one where the maker fuses.
LAYERS = {
    "wan": ("blocks.0.attn1.to_q", "blocks.0.ffn.net.2"),
    "ltx_video": ("transformer_blocks.0.attn1.to_v", "transformer_blocks.0.ff.net.2"),
    "hunyuan_video": ("transformer_blocks.0.attn.to_k", "single_transformer_blocks.0.proj_out"),
}


def state(family: str) -> dict[str, Tensor]:
    """Random weights of a transformer with one block of each kind, in the makers' names. Read them only."""
    shapes = makers.shapes(family, WIDTH, WIDTH, {"num_attention_heads": 2, "ffn_dim": WIDTH})
    return dict(makers.drawn(tuple(sorted(shapes.items()))))


def packed(family: str, code: str, decode: Callable[[Blocks], Tensor]) -> tuple[dict[str, Tensor | Blocks], dict]:
    """(a GGUF file's tensors, with every matrix of whole blocks packed; the numbers that they stand for).

    Args:
        decode: gives a packed tensor's numbers in its shape.
    """
    stored: dict[str, Tensor | Blocks] = {}
    numbers: dict[str, Tensor] = {}
    for place, (name, tensor) in enumerate(state(family).items()):
        stored[name] = numbers[name] = tensor
        if tensor.ndim == 2 and tensor.shape[1] % BY_CODE[code].numbers == 0 and "modulation" not in name:
            blocks = random_blocks(code, tuple(tensor.shape), size=2 * tensor.shape[1] ** -0.5, seed=place)
            stored[name], numbers[name] = blocks, decode(blocks)
    return stored, numbers


def conditioning(family: str, seed: int = 1) -> list:
    """A random CONDITIONING as the family's encoder gives it."""
    dice = torch.Generator().manual_seed(seed)
    context = torch.randn(1, 12, WIDTH, generator=dice)
    further = {}
    if family != "wan":
        further["attention_mask"] = (torch.arange(12) < 9).long().unsqueeze(0)
    if family == "hunyuan_video":
        further["pooled_output"] = torch.randn(1, WIDTH, generator=dice)
    return [[context, further]]
