"""Tiny LTX-2 files with random weights, in the makers' names, for tests to load."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from opent2v.base import Shapes, Variant
from opent2v.families.ltx2 import FAMILY, files
from opent2v.families.ltx2.versions import make_variant
from opent2v.tests.families.layouts import ltx2 as layout
from opent2v.tests.loaders import text_files

PREFIX = "model.diffusion_model."
CAPTION = 60  # wide is the text of 2.0


def variant_of(version: str) -> tuple[dict[str, Any], Variant]:
    """(config of the transformer, variant)."""
    heads, head = (32, 4) if version == "2.0" else (4, 32)
    config = layout.transformer_config(version, heads, head, head // 2, CAPTION, 2)
    return config, make_variant(FAMILY, config, layout.connector_configs(config, 30, 2))


def drawn(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Weights of these shapes, drawn so that nothing explodes or vanishes."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith(("norm_q.weight", "norm_k.weight", "norm.weight")):
            weights[name] = 1 + 0.2 * noise
        elif len(shape) > 1 and not any(word in name for word in ("table", "registers", "keyframes")):
            weights[name] = noise / noise[0].numel() ** 0.5
        else:
            weights[name] = 0.3 * noise
    return weights


@cache
def transformer(version: str) -> dict[str, Tensor]:
    """Weights of a transformer with its connectors, in diffusers' names."""
    config, variant = variant_of(version)
    return drawn(files.tensors(variant, config))


def originals(weights: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """The same in the makers' names."""
    return {prefix + layout.original(name): tensor for name, tensor in weights.items()}


GEMMA = {"vocab_size": 64, "hidden_size": CAPTION, "intermediate_size": 96, "num_hidden_layers": 7, "head_dim": 16,
         "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip


@cache
def gemma() -> dict[str, Tensor]:
    """A Gemma 3 of seven layers as ComfyUI's file has it, with its tokenizer."""
    width, inner, head = GEMMA["hidden_size"], GEMMA["intermediate_size"], GEMMA["head_dim"]
    queries, keys = GEMMA["num_attention_heads"] * head, GEMMA["num_key_value_heads"] * head
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (64, width), "model.norm.weight": (width,)}
    norms = [f"{place}_layernorm" for place in ("input", "post_attention", "pre_feedforward", "post_feedforward")]
    for n in range(GEMMA["num_hidden_layers"]):
        layer = f"model.layers.{n}"
        shapes |= {f"{layer}.{norm}.weight": (width,) for norm in norms}
        shapes |= {f"{layer}.self_attn.{norm}_norm.weight": (head,) for norm in "qk"}
        shapes |= {
            f"{layer}.self_attn.q_proj.weight": (queries, width), f"{layer}.self_attn.k_proj.weight": (keys, width),
            f"{layer}.self_attn.v_proj.weight": (keys, width), f"{layer}.self_attn.o_proj.weight": (width, queries),
            f"{layer}.mlp.gate_proj.weight": (inner, width), f"{layer}.mlp.up_proj.weight": (inner, width),
            f"{layer}.mlp.down_proj.weight": (width, inner),
        }  # fmt: skip
    weights = drawn(shapes, 1)
    weights |= {name: 0.3 * tensor for name, tensor in weights.items() if "norm" in name}
    return weights | {"spiece_model": torch.tensor(list(text_files.spiece()), dtype=torch.uint8)}


GEMMA4 = GEMMA | {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6, "global_head_dim": 32,
                  "num_global_key_value_heads": 1}  # fmt: skip


@cache
def tokenizer_json() -> bytes:
    """A tokenizer of bytes and a few merges, with Gemma's three first words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<pad>", "<eos>", "<bos>", "<unk>"])
    tokenizer.train_from_iterator(text_files.WORDS, trainer)
    return tokenizer.to_str().encode()


@cache
def gemma4() -> dict[str, Tensor]:
    """A Gemma 4 of six layers as ComfyUI's file has it: projection, tokenizer and other parts inside."""
    from transformers import Gemma4UnifiedTextConfig, Gemma4UnifiedTextModel

    config = Gemma4UnifiedTextConfig(**GEMMA4, attention_k_eq_v=True)
    with torch.device("meta"):
        module = Gemma4UnifiedTextModel(config)
    weights = drawn({f"model.{name}": tuple(tensor.shape) for name, tensor in module.state_dict().items()}, 5)
    for name in weights:
        if name.endswith(("norm.weight", "layer_scalar")):
            weights[name] = 1 + 0.2 * weights[name] if "layernorm" in name or "scalar" in name else weights[name]
    others = {"multi_modal_projector.embedding_projection.weight": (4, 4), "vision_model.pos_norm.weight": (4,)}
    text = torch.tensor(list(tokenizer_json()), dtype=torch.uint8)
    return weights | projection("2.5") | drawn(others, 6) | {"tokenizer_json": text}


@cache
def projection(version: str) -> dict[str, Tensor]:
    """The text projection of a version, in the makers' names."""
    encoder = GEMMA4 if version == "2.5" else GEMMA
    into = encoder["hidden_size"] * (encoder["num_hidden_layers"] + 1)
    stem, config = "text_embedding_projection", variant_of(version)[0]
    if version == "2.0":
        return drawn({f"{stem}.aggregate_embed.weight": (CAPTION, into)}, 2)
    widths = {"video": config["cross_attention_dim"], "audio": config["audio_cross_attention_dim"]}
    shapes: dict[str, tuple[int, ...]] = {}
    for stream, width in widths.items():
        shapes |= {f"{stem}.{stream}_aggregate_embed.weight": (width, into)}
        shapes |= {f"{stem}.{stream}_aggregate_embed.bias": (width,)}
    return drawn(shapes, 2)


VIDEO_VAE = {
    "block_out_channels": (128, 128, 128, 128), "decoder_block_out_channels": (32, 64, 128),
    "layers_per_block": (1, 1, 1, 1, 1), "decoder_layers_per_block": (1, 1, 1, 1), "timestep_conditioning": False,
    "decoder_causal": False, "encoder_spatial_padding_mode": "zeros", "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}  # fmt: skip
# Kind of the decoder -> diffusers' config.
VIDEO_VAES: dict[str, dict[str, Any]] = {
    "2.0": VIDEO_VAE | {"decoder_spatial_padding_mode": "reflect"},
    "2.3": VIDEO_VAE | {
        "decoder_block_out_channels": (32, 64, 64, 128), "decoder_layers_per_block": (1, 1, 1, 1, 1),
        "decoder_spatio_temporal_scaling": (True,) * 4, "decoder_inject_noise": (False,) * 5,
        "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"), "upsample_residual": (False,) * 4,
        "upsample_factor": (2, 2, 1, 2), "decoder_spatial_padding_mode": "zeros",
    },
}  # fmt: skip


def settled(module: torch.nn.Module, seed: int) -> dict[str, Tensor]:
    """Random weights for a VAE; its filters stay as they are."""
    weights = {name: tensor for name, tensor in module.state_dict().items() if "filter" in name}
    drawn_ones = drawn({n: tuple(t.shape) for n, t in module.state_dict().items() if n not in weights}, seed)
    for name in drawn_ones:
        if name.endswith("latents_std"):
            drawn_ones[name] = drawn_ones[name].abs() + 0.5
        elif name.endswith(("mel_basis", "forward_basis", "inverse_basis")):
            drawn_ones[name] = 0.05 * drawn_ones[name].abs()
    return {**drawn_ones, **weights}


@cache
def video_vae(kind: str) -> dict[str, Tensor]:
    """Weights of a video VAE in the makers' names."""
    from diffusers import AutoencoderKLLTX2Video

    weights = settled(AutoencoderKLLTX2Video(**VIDEO_VAES[kind]), 3)
    return {layout.original_video_vae(name): tensor for name, tensor in weights.items()}


@cache
def sound_vae(kind: str) -> dict[str, Tensor]:
    """Weights of a sound's VAE with its vocoder, of 24 kHz ("2.0") or 48 kHz ("2.3"), in the makers' names."""
    from diffusers import AutoencoderKLLTX2Audio
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder, LTX2VocoderWithBWE

    module = AutoencoderKLLTX2Audio(ch_mult=(1, 1, 1), num_res_blocks=1)
    is_first = kind == "2.0"
    module.vocoder = (
        LTX2Vocoder(hidden_channels=64) if is_first else LTX2VocoderWithBWE(hidden_channels=64, bwe_hidden_channels=64)
    )
    return {layout.original_sound_vae(name): tensor for name, tensor in settled(module, 4).items()}


def all_in_one(version: str) -> dict[str, Tensor]:
    """A checkpoint as Lightricks publishes it: all but the Gemma."""
    kind = "2.0" if version == "2.0" else "2.3"
    video = {f"vae.{name}": tensor for name, tensor in video_vae(kind).items()}
    inside = {} if version == "2.5" else projection(version)  # that of 2.5 lies in the Gemma's file
    return originals(transformer(version), PREFIX) | inside | video | sound_vae(kind)


# Kind of a latent upscaler -> diffusers' config, as published but for its width.
UPSCALERS: dict[str, dict[str, Any]] = {
    "spatial": {"use_rational_resampler": False},
    "rational": {"use_rational_resampler": True},
    "1.5": {"use_rational_resampler": True, "rational_spatial_scale": 1.5},
    "temporal": {"spatial_upsample": False, "temporal_upsample": True, "use_rational_resampler": False},
}
UPSCALER = {"in_channels": 128, "mid_channels": 32, "num_blocks_per_stage": 1, "dims": 3}


@cache
def upscaler(kind: str) -> dict[str, Tensor]:
    """Weights of a latent upscaler, which have the same names everywhere."""
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

    module = LTX2LatentUpsamplerModel(**UPSCALER, **UPSCALERS[kind])
    kept = {name: tensor for name, tensor in module.state_dict().items() if "kernel" in name}
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items() if name not in kept}
    return drawn(shapes, 7) | kept
