"""A tiny Mochi folder with random weights, made by diffusers' own `save_pretrained`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from opent2v.tests.tiny import save_folder, shared_folder
from opent2v.tests.tiny import wan as tiny

OWN = {"title": "tiny", "width": 32, "height": 32, "frames": 13, "steps": 4, "guidance": 4.5, "max_tokens": 24}
# Every factor of the published VAE is kept: 6 in time, 8 in space, with fewer channels and layers.
VAE = {
    "encoder_block_out_channels": (32, 32, 32, 64), "decoder_block_out_channels": (32, 32, 32, 64),
    "layers_per_block": (1, 1, 1, 1, 1), "latent_channels": 12,
}  # fmt: skip


def transformer(layers: int = 2):
    from diffusers import MochiTransformer3DModel

    torch.manual_seed(0)
    built = MochiTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, num_layers=layers, pooled_projection_dim=16, in_channels=12,
        text_embed_dim=16, time_embed_dim=16, max_sequence_length=24,
    ).eval()  # fmt: skip
    # Zeros at the start would leave positions and norms untested.
    for parameter in built.parameters():
        if parameter.ndim < 2 or parameter.eq(0).all():
            torch.nn.init.normal_(parameter, 0.5, 0.2)
    torch.nn.init.normal_(built.pos_frequencies, 0, 0.5)
    return built


def vae():
    from diffusers import AutoencoderKLMochi

    torch.manual_seed(1)
    return AutoencoderKLMochi(**VAE).eval()


def make(path: Path) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler
    from transformers import T5Config, T5EncoderModel

    from opent2v.training import captions

    tokenizer = captions.tokenizer()
    torch.manual_seed(2)
    text = T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
            relative_attention_num_buckets=8, feed_forward_proj="gated-gelu",
        )
    )  # fmt: skip
    parts = {"transformer": transformer(), "vae": vae(), "text_encoder": text}
    scheduler = FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
    save_folder(path, "MochiPipeline", parts, scheduler, OWN, force_zeros_for_empty_prompt=True)


folder = shared_folder(make)


@cache
def hosted():
    """(MODEL, CLIP, VAE) of the embedded host, all fp32."""
    return tiny.hosted(folder())
