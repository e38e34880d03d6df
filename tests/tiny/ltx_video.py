"""Tiny LTX-Video folders with random weights, made by diffusers' own `save_pretrained`, for tests to load."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch

from opent2v.families.ltx_video.versions import DYNAMIC, STATIC
from opent2v.tests.tiny import shared_folder
from opent2v.tests.tiny import wan as tiny

# What a tiny folder's opent2v.json says.
OWN = {"title": "tiny", "width": 96, "height": 64, "frames": 17}
CHANNELS, TEXT = 128, 16
TRANSFORMER = {
    "in_channels": CHANNELS, "out_channels": CHANNELS, "num_attention_heads": 2, "attention_head_dim": 16,
    "cross_attention_dim": 32, "num_layers": 2, "caption_channels": TEXT,
}  # fmt: skip
# The three VAEs of the family, 1/16 as wide.
VAES = {
    "0.9.0": {
        "block_out_channels": (8, 16, 32, 32), "decoder_block_out_channels": (8, 16, 32, 32),
        "layers_per_block": (2, 1, 1, 1, 2), "decoder_layers_per_block": (2, 1, 1, 1, 2),
        "spatio_temporal_scaling": (True, True, True, False),
        "decoder_spatio_temporal_scaling": (True, True, True, False), "decoder_inject_noise": (False,) * 5,
        "upsample_residual": (False,) * 4, "upsample_factor": (1,) * 4, "timestep_conditioning": False,
    },
    "0.9.1": {
        "block_out_channels": (8, 16, 32, 32), "decoder_block_out_channels": (16, 32, 64),
        "layers_per_block": (2, 1, 1, 1, 2), "decoder_layers_per_block": (1, 2, 1, 2),
        "spatio_temporal_scaling": (True, True, True, False), "decoder_spatio_temporal_scaling": (True,) * 3,
        "decoder_inject_noise": (True, True, True, False), "upsample_residual": (True,) * 3,
        "upsample_factor": (2,) * 3, "timestep_conditioning": True,
    },
    "0.9.5": {
        "block_out_channels": (8, 16, 32, 64, 128), "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
        "decoder_block_out_channels": (16, 32, 64), "layers_per_block": (1, 2, 2, 1, 1),
        "decoder_layers_per_block": (1, 1, 1, 1), "spatio_temporal_scaling": (True,) * 4,
        "decoder_spatio_temporal_scaling": (True,) * 3, "decoder_inject_noise": (False,) * 4,
        "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        "upsample_residual": (True,) * 3, "upsample_factor": (2,) * 3, "timestep_conditioning": True,
        "spatial_compression_ratio": 32, "temporal_compression_ratio": 8,
    },
}  # fmt: skip
# kind -> VAE, scheduler, the pipeline that model_index.json names. The published 0.9.5 folder names LTXPipeline.
KINDS = {
    "0.9.0": ("0.9.0", DYNAMIC, "LTXPipeline"),
    "0.9.1": ("0.9.1", DYNAMIC, "LTXImageToVideoPipeline"),
    "static": ("0.9.0", STATIC | {"shift": 3.0}, "LTXPipeline"),
    "0.9.5": ("0.9.5", STATIC, "LTXPipeline"),
    "0.9.7": ("0.9.5", STATIC, "LTXConditionPipeline"),
    "0.9.8-distilled": ("0.9.5", STATIC, "LTXConditionPipeline"),
}


@cache
def shared(kind: str):
    """(MODEL, CLIP, VAE) in fp32 that all tests share."""
    return tiny.hosted(folder(kind))


def vae(version: str, latent_channels: int = CHANNELS):
    """A random VAE with statistics of its own, whose encoder is certain of what it says."""
    from diffusers import AutoencoderKLLTXVideo

    torch.manual_seed(1)
    module = AutoencoderKLLTXVideo(latent_channels=latent_channels, **VAES[version]).eval()
    module.latents_mean.copy_(torch.randn(latent_channels) * 0.5)
    module.latents_std.copy_(torch.rand(latent_channels) + 0.5)
    # A log variance of -30 everywhere: a sample of the posterior, which pipelines take, is its mean.
    module.encoder.conv_out.conv.weight.data[-1] = 0
    module.encoder.conv_out.conv.bias.data[-1] = -30
    return module


def make(path: Path, kind: str) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, LTXVideoTransformer3DModel
    from transformers import T5Config, T5EncoderModel

    from opent2v.training import captions

    version, scheduler, pipeline = KINDS[kind]
    torch.manual_seed(0)
    tokenizer = captions.tokenizer()
    text_encoder = T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer), d_model=TEXT, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
            relative_attention_num_buckets=8, feed_forward_proj="gated-gelu",
        )
    )  # fmt: skip
    parts = {
        "transformer": LTXVideoTransformer3DModel(**TRANSFORMER),
        "text_encoder": text_encoder,
        "vae": vae(version),
        "scheduler": FlowMatchEulerDiscreteScheduler.from_config(
            {k: v for k, v in scheduler.items() if not k.startswith("_")}
        ),
    }
    for name, part in parts.items():
        part.save_pretrained(path / name)
    tokenizer.save_pretrained(path / "tokenizer")
    tiny.edit(path / "tokenizer" / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    index = {
        "_class_name": pipeline,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "LTXVideoTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLLTXVideo"],
    }
    (path / "model_index.json").write_text(json.dumps(index))
    (path / "opent2v.json").write_text(json.dumps(OWN))


folder = shared_folder(make)
