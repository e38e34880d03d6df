"""LTX-2's VAEs: the files of the video's and the sound's, and how each is called.

Source of the names: ComfyUI 0.33.0, comfy/ldm/lightricks/vae and vocoders; diffusers 0.42.1, autoencoder_kl_ltx2,
autoencoder_kl_ltx2_audio and pipelines/ltx2/vocoder.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from ...base import FamilyError, Recognised, Shapes, Variant
from ...base.keys import Rule, rename, renamed_shapes
from ...base.recognise import layers, without_prefix
from ...base.resampling import resampled
from ..ltx_video import statistics, streamed
from . import sound_pieces
from .mel import log_mel

_STATISTICS = (
    rename("^per_channel_statistics.mean-of-means", "latents_mean"),
    rename("^per_channel_statistics.std-of-means", "latents_std"),
    rename("^per_channel_statistics"),
)
# Parts of an all-in-one file beside those of the sound.
_OTHERS = ("model", "vae", "first_stage_model", "text_embedding_projection", "text_encoders")
_VOCODER = (
    rename("ups", "upsamplers"),
    rename("resblocks", "resnets"),
    rename("conv_pre", "conv_in"),
    rename("conv_post", "conv_out"),
    rename("act_post", "act_out"),
    rename("downsample.lowpass", "downsample"),
)
_SOUND_RULES = (
    *(rename(f"^{name}") for name in _OTHERS),
    rename("^audio_vae", ""),
    rename("^autoencoder", ""),
    *_STATISTICS,
    *_VOCODER,
)
# Kernels of each vocoder's upsamplers; no shape tells their strides, which belong to them.
_STRIDES = {
    (16, 15, 8, 4, 4): (6, 5, 2, 2, 2),
    (11, 4, 4, 4, 4, 4): (5, 2, 2, 2, 2, 2),
    (12, 11, 4, 4, 4): (6, 5, 2, 2, 2),
}


def video_vae(variant: Variant, shapes: Shapes) -> Recognised | None:
    """The video's VAE, in the makers' names or diffusers'.

    Args:
        variant: what is known of a model by its VAE alone.
    Raises:
        FamilyError: the diffusion decoder of 2.5.
    """
    if without_prefix(shapes, "decoder.conv_in_x_t.weight") is not None:
        raise FamilyError(
            "This is LTX-2.5's VAE with the diffusion decoder, which this version does not decode with. Choose the one "
            "with convolutions, which decodes the same latents: ltx-2.5-video-vae-conv-bf16.safetensors."
        )
    for marker, layout in (
        ("decoder.up_blocks.0.res_blocks.0.conv1.conv.weight", "original"),
        ("decoder.mid_block.resnets.0.conv1.conv.weight", "diffusers"),
    ):
        inside = without_prefix(shapes, marker)
        if inside is None or "encoder.conv_out.conv.weight" not in inside[1]:
            continue
        prefix, inner = inside
        is_conditioned = any("time_embedder" in name for name in inner)
        is_of_ltx_video = f"encoder.down_blocks.{1 if layout == 'original' else '0.downsamplers.0'}.conv.conv.weight"
        if is_conditioned or is_of_ltx_video not in inner:
            return None
        rules = vae_rules(inner) if layout == "original" else ()
        config = video_config(renamed_shapes(inner, rules))
        return Recognised("vae", layout, "AutoencoderKLLTX2Video", config, variant, rules, prefix)
    return None


def vae_rules(shapes: Shapes) -> tuple[Rule, ...]:
    """The makers' flat list of blocks -> diffusers' blocks with their up- and downsamplers inside."""
    ups, downs = (layers(shapes, stem) for stem in ("decoder.up_blocks", "encoder.down_blocks"))
    up = {0: "mid_block", **{n: f"up_blocks.{(n - 1) // 2}" for n in range(1, ups)}}
    up |= {n: f"{up[n]}.upsamplers.0" for n in range(1, ups, 2)}
    down = {n: f"down_blocks.{n // 2}" for n in range(downs - 1)}
    down |= {n: f"{down[n]}.downsamplers.0" for n in range(1, downs - 1, 2)} | {downs - 1: "mid_block"}
    return (
        *_STATISTICS,
        rename("res_blocks", "resnets"),
        *(rename(f"^decoder.up_blocks.{n}", f"decoder.{to}", is_last=True) for n, to in up.items()),
        *(rename(f"^encoder.down_blocks.{n}", f"encoder.{to}", is_last=True) for n, to in down.items()),
    )


def video_config(shapes: Shapes) -> dict[str, Any]:
    """The config of diffusers' class, from shapes in its names."""
    downs, ups = layers(shapes, "encoder.down_blocks"), layers(shapes, "decoder.up_blocks")
    down = [f"encoder.down_blocks.{n}" for n in range(downs)] + ["encoder.mid_block"]
    up = ["decoder.mid_block"] + [f"decoder.up_blocks.{n}" for n in range(ups)]

    def width(block: str) -> int:
        return shapes[f"{block}.resnets.0.conv1.conv.weight"][0]

    factors = [width(before) // width(block) for before, block in pairwise(up)]
    kinds = []
    for block, factor in zip(up[1:], factors, strict=True):
        out, into = shapes[f"{block}.upsamplers.0.conv.conv.weight"][:2]
        kinds.append({8: "spatiotemporal", 4: "spatial", 2: "temporal"}[out * factor // into])
    is_first = ups == 3  # 2.0's decoder; no shape tells its padding and its shortcuts
    # diffusers lists a decoder's blocks from the video's end to the latent's end, but for the kinds of upsamplers.
    return {
        "latent_channels": shapes["decoder.conv_in.conv.weight"][1],
        "block_out_channels": [width(block) for block in down[1:]],
        "decoder_block_out_channels": [width(b) * f for b, f in zip(up[:0:-1], factors[::-1], strict=True)],
        "layers_per_block": [layers(shapes, f"{block}.resnets") for block in down],
        "decoder_layers_per_block": [layers(shapes, f"{block}.resnets") for block in reversed(up)],
        "spatio_temporal_scaling": [True] * downs,
        "decoder_spatio_temporal_scaling": [True] * ups,
        "decoder_inject_noise": [False] * (ups + 1),
        "down_block_types": ["LTX2VideoDownBlock3D"] * downs,
        "downsample_type": ["spatial", "temporal", "spatiotemporal", "spatiotemporal"],
        "upsample_type": kinds,
        "upsample_residual": [is_first] * ups,
        "upsample_factor": factors[::-1],
        "timestep_conditioning": False,
        "encoder_causal": True,
        "decoder_causal": False,
        "encoder_spatial_padding_mode": "zeros",
        "decoder_spatial_padding_mode": "reflect" if is_first else "zeros",
        "spatial_compression_ratio": 32,
        "temporal_compression_ratio": 8,
    }


def decode(vae: Any, latent: Tensor, seed: int) -> Tensor:
    """Normalised latent -> video."""
    mean, std = statistics(vae, latent)
    return vae.decode(latent * std + mean, return_dict=False)[0]


def decode_frames(vae: Any, latent: Tensor, tiled: bool) -> Iterator[Tensor]:
    """As `decode`, one latent frame after the other."""
    mean, std = statistics(vae, latent)
    return streamed.decode_frames(vae, latent * std + mean, tiled)


def encode(vae: Any, video: Tensor) -> Tensor:
    """Video -> normalised latent; frames beyond the last 8n + 1 are left out."""
    whole = (video.shape[2] - 1) // 8 * 8 + 1
    latent = vae.encode(video[:, :, :whole], return_dict=False)[0].mode()
    mean, std = statistics(vae, latent)
    return (latent - mean) / std


def sound_vae(variant: Variant, shapes: Shapes) -> Recognised | None:
    """The sound's VAE with its vocoder, in a file of their own or in an all-in-one file.

    Raises:
        FamilyError: a VAE without a vocoder, or a vocoder that this version does not know.
    """
    marker = "decoder.mid.block_1.conv1.conv.weight"
    stem = next((stem for stem in ("audio_vae.", "autoencoder.", "") if stem + marker in shapes), None)
    # CogVideoX's VAE has these names as well, with kernels in three dimensions.
    if stem is None or len(shapes.get(f"{stem}encoder.conv_in.conv.weight", ())) != 4:
        return None
    if not any(name.startswith("vocoder.") for name in shapes):
        raise FamilyError(
            "This is the audio VAE of LTX-2 without its vocoder, which makes the sound of what the VAE decodes. Choose "
            "the file that holds both (audio_vae. and vocoder.), or the all-in-one checkpoint."
        )
    named = renamed_shapes(shapes, _SOUND_RULES)
    is_wide = "vocoder.bwe_generator.conv_in.weight" in named
    if is_wide and "vocoder.mel_stft.stft_fn.forward_basis" not in named:
        raise FamilyError(
            "The vocoder in this file lacks its tables (vocoder.mel_stft), without which it makes no sound. Get the "
            "file again, or choose the all-in-one checkpoint."
        )
    widths = [named[f"encoder.down.{n}.block.0.conv1.conv.weight"][0] for n in range(layers(named, "encoder.down"))]
    base, channels = named["encoder.conv_in.conv.weight"][:2]
    config = {
        "base_channels": base,
        "output_channels": named["decoder.conv_out.conv.weight"][0],
        "in_channels": channels,
        "ch_mult": [width // base for width in widths],
        "num_res_blocks": layers(named, "encoder.down.0.block"),
        "latent_channels": named["decoder.conv_in.conv.weight"][1],
    }
    vocoder = _wide_config(named) if is_wide else _vocoder_config(named, "vocoder.")
    extend = with_vocoder(vocoder, is_wide)
    return Recognised("audio_vae", "original", "AutoencoderKLLTX2Audio", config, variant, _SOUND_RULES, extend=extend)


def with_vocoder(config: Mapping[str, Any], is_wide: bool) -> Callable[[nn.Module], None]:
    """Adds a vocoder to the VAE of the sound.

    Args:
        config: of diffusers' class.
        is_wide: it adds the high frequencies in a second pass, as that of 2.3 and newer does.
    """

    def extend(module: Any) -> None:
        from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder, LTX2VocoderWithBWE

        # The makers' first pass ends at -1 and 1; diffusers' config has no such end.
        wide = {**config, "final_act_fn": "clamp"}
        module.vocoder = LTX2VocoderWithBWE(**wide) if is_wide else LTX2Vocoder(**config)

    return extend


def _wide_config(shapes: Shapes) -> dict[str, Any]:
    """The config of the vocoder of 2.3 and newer, which adds the high frequencies in a second pass."""
    second = _vocoder_config(shapes, "vocoder.bwe_generator.")
    return {**_vocoder_config(shapes, "vocoder.vocoder."), **{f"bwe_{name}": value for name, value in second.items()}}


def _vocoder_config(shapes: Shapes, stem: str) -> dict[str, Any]:
    kernels = tuple(shapes[f"{stem}upsamplers.{n}.weight"][2] for n in range(layers(shapes, f"{stem}upsamplers")))
    if kernels not in _STRIDES:
        raise FamilyError(
            f"This LTX-2 vocoder has kernels of {', '.join(map(str, kernels))}, which no published one has. Get the "
            "file again, or a newer version of this pack."
        )
    hidden, into, _ = shapes[f"{stem}conv_in.weight"]
    return {
        "in_channels": into,
        "hidden_channels": hidden,
        "out_channels": shapes[f"{stem}conv_out.weight"][0],
        "upsample_kernel_sizes": list(kernels),
        "upsample_factors": list(_STRIDES[kernels]),
    }


def decode_sound(vae: Any, latent: Tensor) -> Tensor:
    """Normalised latent [B, 8, L, 16] -> waveform [B, 2, samples] in -1..1; L latents are 4 L - 3 mel frames."""
    mean, std = _sound_statistics(vae, latent)

    def decode(piece: Tensor) -> Tensor:
        return vae.decode(_latent(_rows(piece) * std + mean, piece), return_dict=False)[0]

    return sound_pieces.waveform(vae.vocoder, sound_pieces.spectrum(decode, latent))


def encode_sound(vae: Any, waveform: Tensor, rate: int) -> Tensor:
    """Waveform [B, 1 or 2, samples] in -1..1 at `rate` samples a second -> normalised latent [B, 8, L, 16]."""
    config = vae.config
    both = waveform.expand(-1, config.in_channels, -1)
    mel = log_mel(resampled(both, rate, config.sample_rate), config.sample_rate, config.mel_bins, config.mel_hop_length)
    latent = vae.encode(mel, return_dict=False)[0].mode()
    mean, std = _sound_statistics(vae, latent)
    return _latent((_rows(latent) - mean) / std, latent)


def sound_rate(vae: Any) -> int:
    return int(vae.vocoder.config.output_sampling_rate)


def input_rate(vae: Any) -> int:
    return int(vae.config.sample_rate)


def _sound_statistics(vae: nn.Module, like: Tensor) -> list[Tensor]:
    return [vae.get_buffer(name).to(like) for name in ("latents_mean", "latents_std")]


def _rows(latent: Tensor) -> Tensor:
    """[B, channels, L, bins] -> [B, L, channels * bins], as the statistics count."""
    return latent.transpose(1, 2).flatten(2)


def _latent(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_rows`."""
    return rows.unflatten(2, (like.shape[1], like.shape[3])).transpose(1, 2)
