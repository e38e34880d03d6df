"""Tiny CogVideoX folders of every variant with random weights, made by diffusers' own `save_pretrained`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch

from opent2v.tests.tiny import shared_folder
from opent2v.tests.tiny import wan as tiny

KINDS = ("2b", "5b", "5b-i2v", "1.5", "1.5-i2v")
# Long enough for two groups of the VAE, and for 1.5 a latent length that is no multiple of its patch.
SIZE = {"width": 48, "height": 32, "frames": 17}
TOKENS = 12
TABLE = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "rescale_betas_zero_snr": True, "set_alpha_to_one": True, "clip_sample": False,
    "prediction_type": "v_prediction", "timestep_spacing": "trailing",
}  # fmt: skip


def is_image(kind: str) -> bool:
    return kind.endswith("i2v")


def transformer_config(kind: str) -> dict:
    is_new = kind.startswith("1.5")
    return {
        "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 32 if is_image(kind) else 16,
        "out_channels": 16, "time_embed_dim": 8, "text_embed_dim": 16, "num_layers": 2,
        "max_text_seq_length": TOKENS, "sample_width": 30 if is_new else 6, "sample_height": 30 if is_new else 4,
        "sample_frames": 17, "patch_size": 2, "patch_size_t": 2 if is_new else None, "patch_bias": not is_new,
        "use_rotary_positional_embeddings": kind != "2b", "use_learned_positional_embeddings": kind == "5b-i2v",
        "ofs_embed_dim": 8 if kind == "1.5-i2v" else None,
    }  # fmt: skip


def vae_config(kind: str) -> dict:
    return {
        "block_out_channels": [4, 4, 8, 8], "norm_num_groups": 2, "layers_per_block": 1, "latent_channels": 16,
        "scaling_factor": 1.15258426 if kind == "2b" else 0.7, "invert_scale_latents": kind == "1.5-i2v",
        "sample_height": 32, "sample_width": 48,
    }  # fmt: skip


def scheduler(kind: str):
    from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler

    if kind == "2b":
        return CogVideoXDDIMScheduler(**TABLE, snr_shift_scale=3.0)
    return CogVideoXDPMScheduler(**TABLE, snr_shift_scale=1.0)


def pipeline_name(kind: str) -> str:
    return "CogVideoXImageToVideoPipeline" if is_image(kind) else "CogVideoXPipeline"


def make(path: Path, kind: str) -> None:
    from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
    from transformers import T5Config, T5EncoderModel

    from opent2v.training import captions

    torch.manual_seed(0)
    tokenizer = captions.tokenizer()
    text = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        relative_attention_num_buckets=8, feed_forward_proj="gated-gelu",
    )  # fmt: skip
    transformer = CogVideoXTransformer3DModel(**transformer_config(kind))
    if kind == "5b-i2v":  # learned: not the sin-cos table that a fresh module starts with
        transformer.patch_embed.pos_embedding = torch.randn_like(transformer.patch_embed.pos_embedding)
    parts = {
        "transformer": transformer,
        "text_encoder": T5EncoderModel(text),
        "vae": AutoencoderKLCogVideoX(**vae_config(kind)),
    }
    for name, part in parts.items():
        part.eval().save_pretrained(path / name)
    tokenizer.save_pretrained(path / "tokenizer")
    tiny.edit(path / "tokenizer" / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    walks = scheduler(kind)
    walks.save_pretrained(path / "scheduler")
    index = {
        "_class_name": pipeline_name(kind),
        "scheduler": ["diffusers", type(walks).__name__],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLCogVideoX"],
    }
    (path / "model_index.json").write_text(json.dumps(index))
    (path / "opent2v.json").write_text(json.dumps({"title": f"tiny {kind}", "steps": 4, **SIZE}))


folder = shared_folder(make)


def shared(kind: str):
    """(MODEL, CLIP, VAE) of the embedded host in fp32 that all tests share."""
    return _shared(kind)


@cache
def _shared(kind: str):
    return tiny.hosted(folder(kind))
