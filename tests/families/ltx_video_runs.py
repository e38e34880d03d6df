"""Published configs of LTX-Video, and what its tests sample with."""

from __future__ import annotations

import torch

from opent2v.families.ltx_video.versions import DYNAMIC
from opent2v.host import embedded
from opent2v.sampling import make_schedule

PROMPT, NEGATIVE = "a red circle moving left on a black background", "blurry"
SIZE = (96, 64, 17)
TRANSFORMER_2B = {
    "num_attention_heads": 32, "attention_head_dim": 64, "in_channels": 128, "out_channels": 128,
    "caption_channels": 4096, "num_layers": 28, "patch_size": 1, "patch_size_t": 1,
}  # fmt: skip
TRANSFORMER_13B = TRANSFORMER_2B | {"attention_head_dim": 128, "num_layers": 48}
VAE = {
    "latent_channels": 128, "patch_size": 4, "patch_size_t": 1, "spatio_temporal_scaling": [True, True, True, False],
}  # fmt: skip
VAE_091 = VAE | {"timestep_conditioning": True}
VAE_095 = VAE_091 | {
    "down_block_types": ["LTXVideo095DownBlock3D"] * 4, "spatio_temporal_scaling": [True] * 4,
    "spatial_compression_ratio": 32, "temporal_compression_ratio": 8,
}  # fmt: skip


def configs(transformer=None, vae=None, scheduler=DYNAMIC, text=4096, **further):
    return {
        "index": {"_class_name": "LTXPipeline"},
        "transformer": TRANSFORMER_2B | (transformer or {}),
        "vae": vae or VAE,
        "text_encoder": {"d_model": text},
        "scheduler": scheduler,
        **further,
    }


def prompts(clip):
    return embedded.embed(clip, PROMPT), embedded.embed(clip, NEGATIVE)


def schedule_of(model, steps: int, seed: int = 7, shift: float | None = None):
    variant = model.part.variant
    shape = (1, *variant.geometry.latent_shape(*SIZE))
    levels = lambda total: variant.family.sampling.sigmas(variant, total, shift, shape)  # noqa: E731
    return make_schedule(variant.scheduler, steps=steps, shift=shift, sigmas=levels, seed=seed)


def empty(model):
    return {"samples": torch.zeros(1, *model.part.variant.geometry.latent_shape(*SIZE))}
