"""The VAE of MiniMax H3's sound: its files, and how it is called.

It reads and makes the waveform itself, at 32,000 samples a second; the two sides of stereo go through it apart from
each other. ComfyUI's files hold its weights multiplied out, the makers' as direction and length ("weight norm").

Source: diffusers 0.42.1, autoencoder_kl_minimax_h3_audio.py; ComfyUI 0.33.0, comfy/ldm/minimax/audio_vae.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ...base import FamilyError, Recognised, Shapes, Variant
from ...base.keys import rename
from ...base.recognise import layers
from ...base.resampling import resampled
from . import statistics

RATE = 32000
_CLASS = "AutoencoderKLMiniMaxH3Audio"
_MARKER = "pre_block.attn.zero_k_bias"
# Kernel of each upsampler of the decoder -> its stride, which no shape tells.
_STRIDES = {9: 5, 4: 2}
_RULES = (
    *statistics.RULES,
    rename("parametrizations.weight.original0", "weight_g"),
    rename("parametrizations.weight.original1", "weight_v"),
)


def sound_vae(variant: Variant, shapes: Shapes) -> Recognised | None:
    """The sound's VAE, with weights multiplied out or as direction and length.

    Raises:
        FamilyError: a decoder that no published file has, or no statistics of the latents.
    """
    stem = next((name[: -len(_MARKER)] for name in shapes if name.endswith(_MARKER)), None)
    if stem is None:
        return None
    inner = {name[len(stem) :]: shape for name, shape in shapes.items() if name.startswith(stem)}
    is_plain = "decoder.conv_pre.weight" in inner
    config = _config(inner)
    if not all(name in inner for name in statistics.NAMES):
        raise FamilyError(
            "This is the audio VAE of MiniMax H3 without the mean and spread of its latents (latents_mean, "
            "latents_std), without which it makes noise. Choose minimax_h3_audio_vae_fp32.safetensors, which "
            "has them inside."
        )
    extend = _plain_with_statistics if is_plain else _with_statistics
    layout = "original" if is_plain else "diffusers"
    return Recognised("audio_vae", layout, _CLASS, config, variant, _RULES, stem, extend=extend)


def _config(shapes: Shapes) -> dict[str, Any]:
    """The config of diffusers' class."""

    def shape(name: str) -> tuple[int, ...]:
        stems = ("weight", "weight_v", "parametrizations.weight.original1")
        return next(shapes[f"{name}.{stem}"] for stem in stems if f"{name}.{stem}" in shapes)

    strided = [n for n in range(layers(shapes, "encoder.block")) if f"encoder.block.{n}.block.3.alpha" in shapes]
    upsamplers = [shape(f"decoder.ups.{n}.0")[2] for n in range(layers(shapes, "decoder.ups"))]
    unknown = [kernel for kernel in upsamplers if kernel not in _STRIDES]
    if unknown:
        raise FamilyError(
            f"This decoder of sound has a kernel of {unknown[0]}, which MiniMax H3's published one has not. Get the "
            "file again, or a newer version of this pack."
        )
    width, into = shape("decoder.conv_pre")[:2]
    blocks = layers(shapes, "decoder.resblocks") // len(upsamplers)
    return {
        "encoder_dim": shape("encoder.block.0")[0],
        "encoder_rates": [shape(f"encoder.block.{n}.block.4")[2] // 2 for n in strided],
        "latent_dim": into,
        "latent_channels": shapes["mean_proj.weight"][0],
        "decoder_dim": width,
        "decoder_rates": [_STRIDES[kernel] for kernel in upsamplers],
        "decoder_kernel_sizes": upsamplers,
        "resblock_kernel_sizes": [shape(f"decoder.resblocks.{n}.convs1.0")[2] for n in range(blocks)],
    }


def _with_statistics(module: nn.Module) -> None:
    statistics.add(module, len(module.get_parameter("mean_proj.bias")))


def _plain_with_statistics(module: nn.Module) -> None:
    """Layers that hold their weights multiplied out, in place of weight norm's."""
    from torch.nn.utils import remove_weight_norm

    for layer in module.modules():
        if hasattr(layer, "weight_g"):
            remove_weight_norm(layer)
    _with_statistics(module)


def decode(vae: Any, latent: Tensor) -> Tensor:
    """Normalised latent [B, 32, 2, T] -> waveform [B, 2, 800 T] in -1..1."""
    mean, std = statistics.of(vae, latent)
    sides = (latent * std + mean).transpose(1, 2).flatten(0, 1)
    return vae.decode(sides, return_dict=False)[0].unflatten(0, (latent.shape[0], -1)).squeeze(2)


def encode(vae: Any, waveform: Tensor, rate: int) -> Tensor:
    """Waveform [B, 1 or 2, samples] in -1..1 at `rate` samples a second -> normalised latent [B, 32, 2, T].

    The end is filled up with silence to a whole latent, 800 samples.
    """
    both = resampled(waveform, rate, input_rate(vae)).expand(-1, 2, -1)
    sides = vae.encode(both.flatten(0, 1).unsqueeze(1), return_dict=False)[0].mode()
    latent = sides.unflatten(0, (waveform.shape[0], 2)).transpose(1, 2)
    mean, std = statistics.of(vae, latent)
    return (latent - mean) / std


def output_rate(vae: Any) -> int:
    return int(vae.config.sampling_rate)


input_rate: Callable[[Any], int] = output_rate
