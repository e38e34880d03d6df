"""MiniMaxAI's own folders FL2VA and Ref2VA: their configs, in the words of diffusers' classes.

The transformer's shards hold queries, keys and values head by head. The video's VAE lies a folder deeper, in
video_vae/source, and two JSON files beside the configs hold what the VAEs were built with.

Source: diffusers, scripts/convert_minimax_h3_to_diffusers.py @97a1477 (names and layout; facts, no code).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...base import FamilyError, FolderPart
from ...base.folder_part import Configs
from . import statistics, vae
from .files import CLASS, head_by_head, rules

TRANSFORMER, VIDEO, SOUND = "MiniMaxH3DiTModel", "MiniMaxH3VideoVAE", "MiniMaxH3AudioVAE"
INDEX = "_minimax_h3"  # the makers' entry in model_index.json
_SOURCE, _METADATA = "source/config.json", "metadata.json"
# diffusers' name of an entry -> the makers'.
_ENTRIES = {
    "num_refiner_layers": "token_refiner_num_layers",
    "ffn_dim": "ffn_hidden_size",
    "in_channels": "latents_dim",
    "audio_in_channels": "audio_latents_dim",
    "freq_dim": "timestep_input_dim",
    "time_embed_hidden_dim": "time_embed_hidden_size",
    "rope_freq_dim": "rope_inv_freq_len",
}
_SAME = ("num_attention_heads", "attention_head_dim", "hidden_size", "num_layers", "text_dim", "time_embed_dim")


def transformer(configs: Configs) -> dict[str, Any]:
    """The config of diffusers' transformer; one that is in diffusers' words already is kept."""
    config = configs["transformer"]
    if config["_class_name"] != TRANSFORMER:
        return dict(config)
    return {
        "_class_name": CLASS,
        **{name: config[name] for name in _SAME},
        **{name: config[entry] for name, entry in _ENTRIES.items()},
    }


def video(configs: Configs) -> dict[str, Any]:
    """The config of diffusers' video VAE, with the statistics of its latents."""
    outer = configs["vae"]
    if outer["_class_name"] != VIDEO:
        return dict(outer)
    inner = configs[f"vae/{_SOURCE}"]
    decoder = inner["vit_decoder_kwargs"]
    return {
        "_class_name": vae.CLASS,
        "latent_channels": inner["z_channels"],
        "block_out_channels": [inner["ch"] * factor for factor in inner["ch_mult"]],
        "layers_per_block": inner["num_res_blocks"],
        "spatial_downsample_factors": inner["space_down"],
        "temporal_downsample_factors": inner["time_down"],
        "decoder_num_layers": decoder["num_layers"],
        "decoder_num_attention_heads": decoder["heads"],
        "decoder_attention_head_dim": decoder["dim_head"],
        "clip_length": outer["vae_clip_length"],
        "token_drop": outer["vae_token_drop"],
        **_statistics(outer, inner["z_channels"]),
    }


def sound(configs: Configs) -> dict[str, Any]:
    """The config of diffusers' audio VAE, with the statistics of its latents.

    Raises:
        FamilyError: a decoder that diffusers' class does not have.
    """
    outer = configs["audio_vae"]
    if outer["_class_name"] != SOUND:
        return dict(outer)
    built = configs[f"audio_vae/{_METADATA}"]["metadata"]["kwargs"]
    if built.get("decoder_type", "bigvgan") != "bigvgan" or not built.get("attn_proj", True):
        raise FamilyError(
            f"The audio VAE's decoder is a {built.get('decoder_type')}; MiniMax H3's published one is a bigvgan with "
            "attention before its latents. Get the audio_vae folder again."
        )
    channels = built["vae_latent_channels"]
    return {
        "_class_name": "AutoencoderKLMiniMaxH3Audio",
        **{
            name: built[name] for name in ("encoder_dim", "encoder_rates", "latent_dim", "decoder_dim", "decoder_rates")
        },
        "latent_channels": channels,
        # A stride's kernel is twice as wide, and one less where that is odd: 5 has 9, 2 has 4.
        "decoder_kernel_sizes": [2 * rate - rate % 2 for rate in built["decoder_rates"]],
        "sampling_rate": built["sample_rate"],
        **_statistics(outer, channels),
    }


def shifts(configs: Configs, otherwise: tuple[float, float]) -> tuple[float, float]:
    """Of the noise levels of picture and sound."""
    stated = configs["index"].get(INDEX, {}).get("sigma_shift_scales", {})
    return float(stated.get("video", otherwise[0])), float(stated.get("audio", otherwise[1]))


def _statistics(config: Mapping[str, Any], channels: int) -> dict[str, Any]:
    mean, std = (config[name] for name in statistics.NAMES)
    if {len(mean), len(std)} != {channels}:
        raise FamilyError(
            f"The VAE's config.json has {len(mean)} and {len(std)} numbers for the mean and the spread of {channels} "
            "channels of latents. Get the folder again."
        )
    return dict(zip(statistics.NAMES, (mean, std), strict=True))


PARTS = {
    "transformer": FolderPart(
        "transformer",
        frozenset({TRANSFORMER}),
        transformer,
        rules=lambda configs: rules(head_by_head(configs["transformer"]["attention_head_dim"])),
    ),
    "vae": FolderPart("vae", frozenset({VIDEO}), video, rules=vae.RULES, folder="source", files=(_SOURCE,)),
    "audio_vae": FolderPart("audio_vae", frozenset({SOUND}), sound, files=(_METADATA,)),
}
