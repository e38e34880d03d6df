"""A tiny HunyuanVideo folder with random weights, made by diffusers' own `save_pretrained`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from opent2v.tests.tiny import save_folder, shared_folder
from opent2v.tests.tiny import wan as tiny

OWN = {"title": "tiny", "width": 32, "height": 32, "frames": 9, "steps": 4, "max_tokens": 64}
VAE = {
    "latent_channels": 16, "block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4,
}  # fmt: skip


def transformer(**changes):
    from diffusers import HunyuanVideoTransformer3DModel

    torch.manual_seed(0)
    config = {
        "in_channels": 16, "out_channels": 16, "num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2,
        "num_single_layers": 2, "num_refiner_layers": 1, "patch_size": 2, "text_embed_dim": 16,
        "pooled_projection_dim": 8, "rope_axes_dim": (4, 4, 4), "guidance_embeds": True,
    } | changes  # fmt: skip
    return HunyuanVideoTransformer3DModel(**config).eval()


def make(path: Path) -> None:
    from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler
    from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel

    from opent2v.training import captions

    tokenizer = captions.tokenizer()
    torch.manual_seed(1)
    parts = {
        "transformer": transformer(),
        "vae": AutoencoderKLHunyuanVideo(**VAE),
        "text_encoder": LlamaModel(
            LlamaConfig(
                vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=4,
                num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256,
            )
        ),
        "text_encoder_2": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer), hidden_size=8, intermediate_size=16, num_hidden_layers=2,
                num_attention_heads=2, max_position_embeddings=77, eos_token_id=tokenizer.eos_token_id, bos_token_id=0,
            )
        ),
    }  # fmt: skip
    save_folder(path, "HunyuanVideoPipeline", parts, FlowMatchEulerDiscreteScheduler(shift=7.0), OWN)


folder = shared_folder(make)


@cache
def hosted():
    """(MODEL, CLIP, VAE) of the embedded host, all fp32."""
    return tiny.hosted(folder())
