"""Tiny MiniMax H3 files with random weights, for tests to load."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from opent2v.base import Variant
from opent2v.families.minimax_h3 import FAMILY, files
from opent2v.families.minimax_h3.versions import make_variant
from opent2v.tests.families.layouts import minimax_h3 as layout
from opent2v.tests.tiny.ltx2 import drawn

HEAD, TEXT = 32, 40
SIZES = {
    "num_attention_heads": 4, "attention_head_dim": HEAD, "hidden_size": 48, "num_layers": 3, "num_refiner_layers": 1,
    "ffn_dim": 64, "text_dim": TEXT, "time_embed_dim": 24, "rope_freq_dim": 4, "time_embed_hidden_dim": 32,
}  # fmt: skip
TABLE = {"full": None, "pruned": (33, 6)}  # rows and width


def variant_of(kind: str) -> tuple[dict[str, Any], Variant]:
    """(config, variant) of "full" or "pruned"."""
    table = TABLE[kind]
    config = layout.config_of(table[1] if table else 0, **{k: v for k, v in SIZES.items() if k != "time_embed_dim"})
    if not table:
        config["time_embed_dim"] = SIZES["time_embed_dim"]
    return config, make_variant(FAMILY, config, table[0] if table else 0)


@cache
def transformer(kind: str, text: int = TEXT, hidden: int = SIZES["hidden_size"]) -> dict[str, Tensor]:
    """Weights in diffusers' names; `text`: width of the prompt's embedding, `hidden`: of the rows."""
    config, variant = variant_of(kind)
    config = {**config, "text_dim": text, "hidden_size": hidden}
    weights = drawn(files.tensors(variant, config))
    return {name: 1 + 0.2 * weight if "norm" in name and weight.ndim == 1 and "linear" not in name else weight
            for name, weight in weights.items()}  # fmt: skip


def originals(kind: str, text: int = TEXT, hidden: int = SIZES["hidden_size"], **how: Any) -> dict[str, Tensor]:
    """The same in the makers' names."""
    return layout.original(transformer(kind, text, hidden), **how) | {
        "rope.inv_freq": 10000 ** -(torch.arange(0, 8, 2, dtype=torch.float32) / 8)
    }


def save(path: Path, weights: dict[str, Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


def shown(frames: int = 22, size: tuple[int, int] = (4, 6), seed: int = 8) -> dict[str, Any]:
    """What ComfyUI's nodes might show to it: a first picture, a clip with its sound, and one reference of each kind."""
    generator = torch.Generator().manual_seed(seed)

    def picture(*shape: int) -> Tensor:
        return torch.randn(1, 24, *shape, generator=generator)

    def sound(latents: int) -> Tensor:
        return torch.randn(1, 32, 2, latents, generator=generator)

    keyframes = [
        {"resolved_frame_index": 0, "latent": picture(1, *size)},
        {"resolved_frame_index": frames - 6, "latent": picture(2, *size), "audio_latent": sound(5)},
        {"resolved_frame_index": 3, "audio_latent": sound(4)},
    ]
    references = [
        {"kind": "image", "latent_h": 6, "latent_w": 4, "latent": picture(1, 6, 4)},
        {"kind": "video_audio", "latent_t": 7, "latent_h": 4, "latent_w": 4, "ref_audio_t": 9,
         "latent": picture(7, 4, 4), "audio_latent": sound(9)},
        {"kind": "video", "latent_t": 2, "latent_h": 2, "latent_w": 4, "ref_audio_t": 0, "latent": picture(2, 2, 4),
         "audio_latent": None},
        {"kind": "audio", "ref_audio_t": 6, "audio_latent": sound(6)},
    ]  # fmt: skip
    return {"minimax_keyframes": keyframes, "minimax_refs": references}
