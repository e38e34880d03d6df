"""Wan 2.1 and Wan 2.2 TI2V-5B text-to-video.

Source: Wan-Video/Wan2.1 @9737cba and Wan-Video/Wan2.2 @42bf4cf (Apache-2.0); configs and call conventions as in
diffusers' WanPipeline.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .base import Defaults, Family, FamilyError, Geometry, Variant

# Wan's own recommended negative prompt (wan/configs/shared_config.py, sample_neg_prompt).
NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，"
    "手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)

# (transformer width, latent channels) -> name, default size, frames, fps, host's latent format.
_KNOWN = {
    (1536, 16): ("2.1 T2V 1.3B", 832, 480, 81, 16.0, "Wan21"),
    (5120, 16): ("2.1 T2V 14B", 832, 480, 81, 16.0, "Wan21"),
    (3072, 48): ("2.2 TI2V 5B", 1280, 704, 121, 24.0, "Wan22"),
}


def read(configs: Mapping[str, Mapping[str, Any]]) -> Variant:
    """Find the variant in a diffusers folder's configs and check that its parts fit each other."""
    index, transformer, vae, text = (configs[k] for k in ("index", "transformer", "vae", "text_encoder"))
    if index.get("boundary_ratio") is not None or "transformer_2" in configs:
        raise FamilyError(
            "This is a Wan 2.2 A14B folder with two experts (transformer and transformer_2), which this version "
            "cannot load yet. Use a Wan 2.1 folder or Wan 2.2 TI2V-5B."
        )
    channels, width = transformer["in_channels"], transformer["num_attention_heads"] * transformer["attention_head_dim"]
    out_channels = transformer.get("out_channels") or channels
    if transformer.get("image_dim") or channels != out_channels:
        raise FamilyError(
            f"This transformer takes {channels} channels and returns {out_channels}: it is an "
            "image-to-video model. Expected a text-to-video model (as many channels in as out)."
        )
    if vae["z_dim"] != channels:
        raise FamilyError(
            f"The VAE makes {vae['z_dim']} latent channels and the transformer takes {channels}. They belong to "
            "different models: use the vae folder that came with this transformer."
        )
    if not len(vae["latents_mean"]) == len(vae["latents_std"]) == channels:
        raise FamilyError(
            f"The VAE's config has {len(vae['latents_mean'])} latents_mean and {len(vae['latents_std'])} latents_std; "
            f"expected {channels} of each, one per latent channel. Get the vae folder's config.json again."
        )
    if text["d_model"] != transformer["text_dim"]:
        raise FamilyError(
            f"The text encoder is {text['d_model']} wide and the transformer expects {transformer['text_dim']}. "
            "Use the text_encoder folder that came with this transformer."
        )
    name, w, h, frames, fps, latent_format = _KNOWN.get(
        (width, channels), ("", 832, 480, 81, 16.0, {16: "Wan21", 48: "Wan22"}.get(channels, ""))
    )
    own = configs.get("opent2v", {})
    geometry = Geometry(
        channels=channels,
        temporal=vae.get("scale_factor_temporal", 4),
        spatial=vae.get("scale_factor_spatial", 8),
        patch=transformer["patch_size"][1],
        max_positions=transformer.get("rope_max_seq_len", 1024),
    )
    defaults = Defaults(
        width=own.get("width", w),
        height=own.get("height", h),
        frames=own.get("frames", frames),
        fps=float(own.get("fps", fps)),
        steps=own.get("steps", 50),
        guidance=float(own.get("guidance", 5.0)),
        negative=own.get("negative", NEGATIVE),
        max_tokens=own.get("max_tokens", 512),
    )
    rgb = own.get("preview")
    return Variant(
        family=FAMILY,
        name=own.get("title", name),
        geometry=geometry,
        defaults=defaults,
        mean=tuple(vae["latents_mean"]),
        std=tuple(vae["latents_std"]),
        scheduler=configs["scheduler"],
        latent_format=latent_format,
        rgb=(tuple(map(tuple, rgb["factors"])), tuple(rgb["bias"])) if rgb else None,
        context_width=transformer["text_dim"],
        memory_factor=width / 2000,  # comfy/supported_models.py, WAN21_T2V
        # ComfyUI's measured factors for the published VAEs (comfy/sd.py), scaled to this VAE's width.
        decode_floats=(3300 / 256 if channels == 48 else 7000 / 96) * (vae.get("decoder_base_dim") or vae["base_dim"]),
        encode_floats=(3300 / 160 if channels == 48 else 6000 / 96) * vae["base_dim"],
    )


def predict(transformer: nn.Module, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """Flow (noise minus clean) at timestep t = sigma * 1000."""
    return transformer(hidden_states=x, timestep=t, encoder_hidden_states=context, return_dict=False)[0]


def clean(text: str) -> str:
    """Mend mojibake where ftfy is installed, unescape HTML twice, collapse white space: as WanPipeline does."""
    try:
        import ftfy
    except ImportError:
        pass
    else:
        text = ftfy.fix_text(text)
    text = html.unescape(html.unescape(text)).strip()
    return re.sub(r"\s+", " ", text).strip()


def embed(text_encoder: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Last hidden state, with exact zeros behind the prompt's end: the transformer gets no mask."""
    hidden = text_encoder(ids, mask).last_hidden_state
    return hidden * mask.to(hidden).unsqueeze(-1)


def decode(vae: nn.Module, latent: Tensor) -> Tensor:
    return vae.decode(latent, return_dict=False)[0]  # pyright: ignore[reportCallIssue]


def decode_frames(vae: Any, latent: Tensor, tiled: bool) -> Iterator[Tensor]:
    """One latent frame at a time. The decoder looks back only, and `cache` holds what it looks back at, so the frames
    are those of AutoencoderKLWan.decode; in tiles those of its tiled_decode, each tile with a cache of its own.
    """
    from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

    vae.clear_cache()
    layers, patch = len(vae._feat_map), vae.config.patch_size or 1
    ratio, (height, width) = vae.spatial_compression_ratio, latent.shape[3:]
    tall, wide = (vae.tile_sample_min_height, vae.tile_sample_min_width) if tiled else (height * ratio, width * ratio)
    down, right = (vae.tile_sample_stride_height, vae.tile_sample_stride_width) if tiled else (tall, wide)
    rows = [slice(y, y + tall // ratio) for y in range(0, height, down // ratio)]
    columns = [slice(x, x + wide // ratio) for x in range(0, width, right // ratio)]
    caches = [[[None] * layers for _ in columns] for _ in rows]
    for k in range(latent.shape[2]):
        tiles = []
        for y, across in zip(rows, caches, strict=True):
            pieces = [vae.post_quant_conv(latent[:, :, k : k + 1, y, x]) for x in columns]
            tiles.append(
                [
                    vae.decoder(piece, feat_cache=cache, feat_idx=[0], first_chunk=k == 0)
                    for piece, cache in zip(pieces, across, strict=True)
                ]
            )
        lines = []
        for i, line in enumerate(tiles):
            for j, tile in enumerate(line):
                if i > 0:
                    tile = vae.blend_v(tiles[i - 1][j], tile, (tall - down) // patch)
                if j > 0:
                    tile = vae.blend_h(line[j - 1], tile, (wide - right) // patch)
            lines.append(torch.cat([tile[..., : down // patch, : right // patch] for tile in line], dim=-1))
        video = torch.cat(lines, dim=-2)[..., : height * ratio // patch, : width * ratio // patch]
        yield (unpatchify(video, patch_size=patch) if patch > 1 else video).clamp(-1, 1)


def encode(vae: nn.Module, video: Tensor) -> Tensor:
    return vae.encode(video, return_dict=False)[0].mode()  # pyright: ignore[reportCallIssue]


FAMILY = Family(
    id="wan",
    title="Wan",
    source="Wan-Video/Wan2.1 @9737cba, Wan-Video/Wan2.2 @42bf4cf, Apache-2.0",
    pipelines=frozenset({"WanPipeline"}),
    components={
        "transformer": frozenset({"WanTransformer3DModel"}),
        "vae": frozenset({"AutoencoderKLWan"}),
        "text_encoder": frozenset({"UMT5EncoderModel"}),
        # PreTrainedTokenizerFast and TokenizersBackend: the same tokenizer.json under transformers 4 and 5.
        "tokenizer": frozenset({"T5Tokenizer", "T5TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"}),
        "scheduler": frozenset(
            {"UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler"}
        ),
    },
    read=read,
    predict=predict,
    clean=clean,
    embed=embed,
    decode=decode,
    encode=encode,
    decode_frames=decode_frames,
    tied={"text_encoder": {"encoder.embed_tokens.weight": "shared.weight"}},
)
