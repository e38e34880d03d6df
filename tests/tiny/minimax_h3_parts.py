"""Tiny VAEs and text encoders of MiniMax H3 with random weights, in the makers' names, for tests to load."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from opent2v.tests.tiny.ltx2 import drawn

VIDEO_VAE: dict[str, Any] = {
    "block_out_channels": (32, 32, 32, 32, 32, 64), "layers_per_block": 1, "decoder_num_layers": 2,
    "decoder_num_attention_heads": 2, "decoder_attention_head_dim": 64,
}  # fmt: skip
SOUND_VAE: dict[str, Any] = {
    "encoder_dim": 4, "latent_dim": 128, "decoder_dim": 128, "latent_channels": 32,
}  # fmt: skip


def _statistics(weights: dict[str, Tensor], channels: int) -> dict[str, Tensor]:
    dice = torch.Generator().manual_seed(9)
    mean, std = torch.randn(channels, generator=dice), 0.5 + torch.rand(channels, generator=dice)
    return {**weights, "latents_mean": mean, "latents_std": std}


@cache
def video_vae() -> dict[str, Tensor]:
    """Weights of a video VAE in diffusers' names, with the statistics of its latents."""
    from diffusers.models.autoencoders.autoencoder_kl_minimax_h3 import AutoencoderKLMiniMaxH3

    shapes = {name: tuple(weight.shape) for name, weight in AutoencoderKLMiniMaxH3(**VIDEO_VAE).named_parameters()}
    weights = drawn(shapes, 3)
    return _statistics({n: 1 + 0.1 * w if n.endswith("norm1.weight") else w for n, w in weights.items()}, 24)


_VIDEO_NAMES = (
    ("encoder.down_blocks.", "encoder.down."), (".resnets.", ".block."), (".downsamplers.0.", ".downsample."),
    ("conv_shortcut", "nin_shortcut"), ("decoder.proj_in.", "decoder.x_embedder."), ("attn.to_out.0.", "attn.to_out."),
    ("ff.net.2.", "ff.w2."), ("ff.net.0.proj.", "ff.w1."),
)  # fmt: skip


def original_video_vae(weights: dict[str, Tensor], head: int = 64) -> dict[str, Tensor]:
    """A video VAE in the makers' names: q, k and v head by head in one layer, the two halves of a gate swapped."""
    named: dict[str, Tensor] = {"decoder.mask_token": torch.zeros(1, 1, weights["decoder.proj_in.weight"].shape[0])}
    for name, tensor in weights.items():
        if ".to_k." in name or ".to_v." in name:
            continue
        if ".to_q." in name:
            rows = [weights[name.replace("to_q", f"to_{part}")].unflatten(0, (-1, head)) for part in "qkv"]
            name, tensor = name.replace("to_q", "to_qkv"), torch.stack(rows, 1).flatten(0, 2)
        for ours, theirs in _VIDEO_NAMES:
            name = name.replace(ours, theirs)
        named[name] = torch.cat(tensor.chunk(2)[::-1]) if ".ff.w1." in name else tensor
    return named


@cache
def sound_vae() -> dict[str, Tensor]:
    """Weights of an audio VAE in the makers' names, as direction and length, with the statistics of its latents."""
    from diffusers.models.autoencoders.autoencoder_kl_minimax_h3_audio import AutoencoderKLMiniMaxH3Audio

    with torch.random.fork_rng():
        torch.manual_seed(4)
        state = AutoencoderKLMiniMaxH3Audio(**SOUND_VAE).state_dict()
    dice = torch.Generator().manual_seed(4)
    weights: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith((".filter", "zero_k_bias")):
            weights[name] = tensor
        elif name.endswith("weight_g"):
            weights[name] = tensor * 1.2
        else:
            weights[name] = tensor + 0.02 * torch.randn(tensor.shape, generator=dice)
    return _statistics(weights, SOUND_VAE["latent_channels"])


@cache
def plain_sound_vae() -> dict[str, Tensor]:
    """The same multiplied out, as ComfyUI's file has it."""
    weights = dict(sound_vae())
    for name in [name for name in weights if name.endswith("weight_g")]:
        length, direction = weights.pop(name), weights.pop(name.replace("weight_g", "weight_v"))
        axes: Sequence[int] = tuple(range(1, direction.ndim))
        weights[name.replace("weight_g", "weight")] = length * direction / direction.norm(dim=axes, keepdim=True)
    return weights


WIDTH, VOCABULARY = 48, 151936
VISION = {"depth": 4, "hidden_size": 128, "intermediate_size": 96, "deepstack_visual_indexes": [0, 1]}
LANGUAGE = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
            "num_key_value_heads": 1}  # fmt: skip


@cache
def language(layers: int = 3, rows: int = VOCABULARY) -> dict[str, Tensor]:
    """A language model of Qwen3-VL as Comfy-Org's file has it, cut behind its last layer and without the last norm."""
    shapes: dict[str, tuple[int, ...]] = {}
    for n in range(layers):
        layer, inner = f"model.layers.{n}", LANGUAGE["intermediate_size"]
        shapes |= {f"{layer}.{norm}_layernorm.weight": (WIDTH,) for norm in ("input", "post_attention")}
        shapes |= {f"{layer}.self_attn.{norm}_norm.weight": (128,) for norm in "qk"}
        shapes |= {
            f"{layer}.self_attn.q_proj.weight": (256, WIDTH), f"{layer}.self_attn.k_proj.weight": (128, WIDTH),
            f"{layer}.self_attn.v_proj.weight": (128, WIDTH), f"{layer}.self_attn.o_proj.weight": (WIDTH, 256),
            f"{layer}.mlp.gate_proj.weight": (inner, WIDTH), f"{layer}.mlp.up_proj.weight": (inner, WIDTH),
            f"{layer}.mlp.down_proj.weight": (WIDTH, inner),
        }  # fmt: skip
    weights = drawn(shapes, 1)
    weights = {name: 1 + 0.2 * tensor if tensor.ndim == 1 else tensor for name, tensor in weights.items()}
    embedding = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(2))
    return {"model.embed_tokens.weight": embedding, **weights}


@cache
def vision() -> dict[str, Tensor]:
    """A vision tower of Qwen3-VL as Comfy-Org's file has it."""
    width, inner, wide = VISION["hidden_size"], VISION["intermediate_size"], 4 * VISION["hidden_size"]

    def linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}

    def norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (size,), f"{name}.bias": (size,)}

    def merger(name: str, size: int) -> dict[str, tuple[int, ...]]:
        return {
            **norm(f"{name}.norm", size), **linear(f"{name}.linear_fc1", wide, wide),
            **linear(f"{name}.linear_fc2", WIDTH, wide),
        }  # fmt: skip

    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (width, 3, 2, 16, 16), "patch_embed.proj.bias": (width,),
        "pos_embed.weight": (2304, width), **merger("merger", width),
    }  # fmt: skip
    for n in range(len(VISION["deepstack_visual_indexes"])):
        shapes |= merger(f"deepstack_merger_list.{n}", wide)
    for n in range(VISION["depth"]):
        block = f"blocks.{n}"
        shapes |= {
            **norm(f"{block}.norm1", width), **norm(f"{block}.norm2", width),
            **linear(f"{block}.attn.qkv", 3 * width, width), **linear(f"{block}.attn.proj", width, width),
            **linear(f"{block}.mlp.linear_fc1", inner, width), **linear(f"{block}.mlp.linear_fc2", width, inner),
        }  # fmt: skip
    weights = drawn(shapes, 5)
    weights = {n: 1 + 0.2 * w if "norm" in n and n.endswith("weight") else w for n, w in weights.items()}
    return {f"visual.{name}": tensor for name, tensor in weights.items()}


def encoder() -> dict[str, Tensor]:
    """Both, as Comfy-Org's file has them."""
    return language() | vision()
