"""The VAE of MiniMax H3's video: its files, and how it is called.

A convolutional encoder takes 17 frames at a time; a transformer decodes seven latent frames at a time, of which two
belong to the next 17 frames and are blended with them. Both work in tiles of 256 pixels, as the makers' do.

diffusers' class refuses a latent of one or two frames (a picture, and the shortest clip), which ComfyUI decodes;
`decode_frames` walks the class's own pieces and so decodes any length, in memory that does not grow with it.

Source: diffusers 0.42.1, autoencoder_kl_minimax_h3.py; ComfyUI 0.33.0, comfy/ldm/minimax/vae.py (names of the makers'
files, one and two latent frames, the mean in place of a draw).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...base import FamilyError, Recognised, Shapes, Variant
from ...base.keys import Rule, rename, swap_halves
from ...base.recognise import layers, without_prefix
from . import statistics
from .files import head_by_head

CLASS = "AutoencoderKLMiniMaxH3"
# Mean and standard deviation of the pictures that the VAE was trained with, of values in 0..1.
_PIXEL_MEAN, _PIXEL_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HEAD = 64  # width of a head of the decoder; no shape tells it
_ORIGINAL, _DIFFUSERS = "encoder.down.0.block.0.conv1.weight", "encoder.down_blocks.0.resnets.0.conv1.weight"
_DECODER = "decoder.transformer_blocks.0.scale1"


RULES: tuple[Rule, ...] = (
    *statistics.RULES,
    rename("^encoder.down.{}.block.{}", "encoder.down_blocks.{}.resnets.{}"),
    rename("^encoder.down.{}.downsample", "encoder.down_blocks.{}.downsamplers.0"),
    rename("nin_shortcut", "conv_shortcut"),
    rename("^decoder.mask_token"),
    rename("^decoder.x_embedder", "decoder.proj_in"),
    rename("attn.to_out", "attn.to_out.0", is_last=True),
    rename("attn.to_qkv", *(f"attn.to_{name}" for name in "qkv"), split=head_by_head(_HEAD)),
    rename("ff.w1", "ff.net.0.proj", split=swap_halves),
    rename("ff.w2", "ff.net.2", is_last=True),
)


def video_vae(variant: Variant, shapes: Shapes) -> Recognised | None:
    """The video's VAE, in the makers' names or diffusers'.

    Args:
        variant: what is known of a model by its VAE alone.
    Raises:
        FamilyError: the small VAE for previews, one of other latents, or one without the statistics of its latents.
    """
    if shapes.get("decoder.22.bias") == (12,) and shapes.get("decoder.1.weight", (0, 0))[1] == 24:
        raise FamilyError(
            "This is the small VAE of MiniMax H3 for previews (taeh3), which this pack does not load. Choose the whole "
            "one: minimax_h3_video_vae_fp16.safetensors or _int8_convrot."
        )
    for marker, layout, rules in ((_ORIGINAL, "original", RULES), (_DIFFUSERS, "diffusers", statistics.RULES)):
        inside = without_prefix(shapes, marker)
        if inside is None or _DECODER not in inside[1]:
            continue
        prefix, inner = inside
        config = _config(inner, layout)
        if config["latent_channels"] != variant.geometry.channels:
            raise FamilyError(
                f"This VAE has latents of {config['latent_channels']} channels, MiniMax H3's has "
                f"{variant.geometry.channels}. Choose minimax_h3_video_vae_fp16.safetensors or _int8_convrot."
            )
        if not all(name in inner for name in statistics.NAMES):
            raise FamilyError(
                "This is the video VAE of MiniMax H3 without the mean and spread of its latents (latents_mean, "
                "latents_std), without which it makes noise. Choose minimax_h3_video_vae_fp16.safetensors or "
                "_int8_convrot, which have them inside."
            )
        extend = partial(statistics.add, channels=variant.geometry.channels)
        return Recognised("vae", layout, CLASS, config, variant, rules, prefix, extend=extend)
    return None


def _config(shapes: Shapes, layout: str) -> dict[str, Any]:
    """The config of diffusers' class."""
    level, block = ("encoder.down", "block") if layout == "original" else ("encoder.down_blocks", "resnets")
    into = "decoder.x_embedder" if layout == "original" else "decoder.proj_in"
    width, channels = shapes[f"{into}.weight"]
    inner = shapes["decoder.transformer_blocks.0." + ("ff.w2" if layout == "original" else "ff.net.2") + ".weight"][1]
    levels = layers(shapes, level)
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "latent_channels": channels,
        "block_out_channels": [shapes[f"{level}.{n}.{block}.0.conv1.weight"][0] for n in range(levels)],
        "layers_per_block": layers(shapes, f"{level}.0.{block}"),
        "decoder_num_layers": layers(shapes, "decoder.transformer_blocks"),
        "decoder_num_attention_heads": width // _HEAD,
        "decoder_attention_head_dim": _HEAD,
        "decoder_num_register_tokens": shapes["decoder.register_tokens"][1],
        "decoder_ffn_mult": inner // width,
    }


def encode(vae: Any, video: Tensor) -> Tensor:
    """Video [B, 3, F, H, W] in -1..1 -> normalised latent, clip by clip.

    The last clip is filled up with its last frame; a single frame is a picture, of one latent frame. The latents are
    the mean, as ComfyUI takes them.
    """
    frames = video.shape[2]
    moments = []
    for piece in video.split(vae.config.clip_length, dim=2):
        clip = _filled_up(piece, vae.config.clip_length) if frames > 1 else piece
        mean, std = _pixel_statistics(clip.device)
        pixels = ((clip.float() + 1) / 2 - mean) / std
        moments.append(vae._encode_clip(pixels.to(vae.quant_conv.weight.dtype)))
    latent = torch.cat(moments, dim=2).chunk(2, dim=1)[0].float()
    if frames > 1:
        latent = latent[:, :, : latent.shape[2] - vae.config.token_drop]
    mean, std = statistics.of(vae, latent)
    return (latent - mean) / std


def decode(vae: Any, latent: Tensor, seed: int) -> Tensor:
    """Normalised latent -> video; it adds no noise, so the seed does not count."""
    return torch.cat(list(decode_frames(vae, latent, tiled=False)), dim=2)


def decode_frames(vae: Any, latent: Tensor, tiled: bool) -> Iterator[Tensor]:
    """What `decode` returns, in pieces of 17 frames.

    Args:
        tiled: makes no difference: the VAE always works in tiles, and the tiles are part of the result.
    """
    count = latent.shape[2]
    mean, std = statistics.of(vae, latent)
    chunk, overlap, ratio = vae.tokens_chunk_size, vae.token_overlap, vae.temporal_compression_ratio
    dropped = vae.frame_pre_padding
    dtype = vae.post_quant_conv.weight.dtype
    if count == 1:
        yield _pixels(vae._decode_clip((latent * std + mean).to(dtype))[:, :, -1:])
        return
    left = _frames(count, chunk, ratio, ratio - dropped)
    faded: Tensor = latent.new_empty(0)  # the frames that this piece and the one before both make
    start = 0
    while left > 0:
        clip = _filled_up(latent[:, :, start : start + chunk + overlap] * std + mean, chunk + overlap)
        frames = vae._decode_clip(clip.to(dtype))
        piece = frames[:, :, dropped : chunk * ratio]
        if start:
            piece = vae._blend(faded, piece, vae.frame_overlap, dim=-3)
        # A copy, because a view would keep the whole piece alive.
        faded = frames[:, :, chunk * ratio + dropped :].clone()
        del frames
        start += chunk
        if start + overlap >= count:
            piece = torch.cat([piece, faded], dim=2)
        piece = piece[:, :, :left]
        left -= piece.shape[2]
        yield _pixels(piece)


def _filled_up(clip: Tensor, length: int) -> Tensor:
    """[B, C, F, H, W] with its last frame once more until it has this length."""
    lacking = length - clip.shape[2]
    return torch.cat([clip, clip[:, :, -1:].expand(-1, -1, lacking, -1, -1)], dim=2) if lacking else clip


def _frames(count: int, chunk: int, ratio: int, first: int) -> int:
    """Video frames of latent frames: the first of each `chunk` stands for `first` of them, all others for `ratio`."""
    whole, rest = divmod(count, chunk)
    return whole * (first + (chunk - 1) * ratio) + (first + (rest - 1) * ratio if rest else 0)


def _pixels(frames: Tensor) -> Tensor:
    """The decoder's numbers -> -1..1."""
    mean, std = _pixel_statistics(frames.device)
    return (frames.float() * std + mean).clamp_(0, 1).mul_(2).sub_(1)


def _pixel_statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation), [1, 3, 1, 1, 1]."""
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1, 1) for values in (_PIXEL_MEAN, _PIXEL_STD))
    return mean, std
