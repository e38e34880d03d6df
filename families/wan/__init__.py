"""Wan 2.1 and Wan 2.2: text to video, first (and last) picture to video, one transformer or two experts.

Source: Wan-Video/Wan2.1 @9737cba and Wan-Video/Wan2.2 @42bf4cf (Apache-2.0); configs and call conventions as in
diffusers' WanPipeline and WanImageToVideoPipeline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...base import (
    Family,
    FamilyError,
    Files,
    Images,
    Network,
    Recognised,
    Recognition,
    Sampling,
    Shapes,
    Text,
    Variant,
    Video,
)
from ...base.checks import check_encoder, check_vae
from ..text import umt5
from .crossing import CROSSING
from .few_steps import FEW_STEPS
from .files import recognise_file, tensors
from .lora import LORA
from .pictures import condition, image_to_video
from .teacache import teacache
from .variants import build_variant, clean, encoded_pictures, published

__all__ = ["FAMILY", "clean"]

_SAME_IN_EXPERTS = ("num_attention_heads", "attention_head_dim", "in_channels", "text_dim", "image_dim")


def read(configs: Mapping[str, Mapping[str, Any]]) -> Variant:
    """Find the variant in a diffusers folder's configs and check that its parts fit each other."""
    index, transformer, vae, text = (configs[k] for k in ("index", "transformer", "vae", "text_encoder"))
    channels, latents = transformer["in_channels"], vae["z_dim"]
    out_channels = transformer.get("out_channels") or channels
    check_vae(latents, out_channels, is_made=True)
    # Channels of an image-to-video model's input: the noisy latent, a mask with one channel per frame, and the
    # picture's latent.
    joined = 2 * latents + vae.get("scale_factor_temporal", 4)
    if channels not in (latents, joined):
        raise FamilyError(
            f"This transformer takes {channels} channels. Expected {latents} (text to video) or {joined} (image to "
            "video); control and editing models are not supported."
        )
    if not len(vae["latents_mean"]) == len(vae["latents_std"]) == latents:
        raise FamilyError(
            f"The VAE's config has {len(vae['latents_mean'])} latents_mean and {len(vae['latents_std'])} latents_std; "
            f"expected {latents} of each, one per latent channel. Get the vae folder's config.json again."
        )
    check_encoder(text["d_model"], transformer["text_dim"])
    encoder = configs.get("image_encoder")
    if encoder and encoded_pictures(transformer):
        check_encoder(encoder["hidden_size"], transformer["image_dim"], encoder="image encoder")
    boundary = _boundary(index, transformer, configs.get("transformer_2"))
    return build_variant(
        FAMILY,
        transformer,
        vae,
        published(transformer, bool(boundary), configs.get("folder", {}).get("name", "")),
        scheduler=configs["scheduler"],
        boundary=boundary,
        has_token_times=bool(index.get("expand_timesteps")),
        overrides=configs.get("opent2v"),
    )


def _boundary(index: Mapping[str, Any], high: Mapping[str, Any], low: Mapping[str, Any] | None) -> float:
    """Share of noise from which on the high-noise expert works; 0 for a folder with one transformer."""
    stated = index.get("boundary_ratio")
    if (stated is None) != (low is None):
        present = "transformer_2 but no boundary_ratio" if stated is None else "boundary_ratio but no transformer_2"
        raise FamilyError(
            f"model_index.json has {present}. A model with two experts (Wan 2.2 A14B) has both: get the folder again, "
            "with transformer and transformer_2."
        )
    for name in _SAME_IN_EXPERTS:
        if low is not None and high.get(name) != low.get(name):
            raise FamilyError(
                f"transformer and transformer_2 differ: {name} is {high.get(name)} and {low.get(name)}. They are the "
                "two experts of one model: get both from the same place."
            )
    return float(stated or 0.0)


def predict(variant: Variant, transformer: nn.Module, x: Tensor, t: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
    """Flow (noise minus clean) at timestep t = sigma * 1000."""
    inputs: dict[str, Tensor] = {}
    if "picture" in conditions:
        picture = conditions["picture"]
        x = torch.cat([x, picture.expand(len(x), *picture.shape[1:])], 1)
    if "denoise_mask" in conditions:
        step = variant.geometry.patch
        # The mask [B, 1, T, h, w] gives every token a timestep of its own: [B, T * h/2 * w/2].
        t = (conditions["denoise_mask"][:, 0, :, ::step, ::step] * t.view(-1, 1, 1, 1)).flatten(1)
    if "vision" in conditions:
        vision = conditions["vision"]
        if variant.facts["encoded_pictures"] == 2:  # the module expects first and last picture as rows of the batch
            vision = vision.reshape(2 * len(vision), -1, vision.shape[-1])
        inputs["encoder_hidden_states_image"] = vision
    context = conditions["context"]
    return transformer(hidden_states=x, timestep=t, encoder_hidden_states=context, **inputs, return_dict=False)[0]


def embed(
    encoders: Mapping[str, nn.Module], tokens: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[Tensor, dict[str, Any]]:
    """Last hidden state, with exact zeros behind the prompt's end: the transformer gets no mask."""
    ids, mask = tokens["text_encoder"]
    hidden = encoders["text_encoder"](ids, mask).last_hidden_state
    return hidden * mask.to(hidden).unsqueeze(-1), {}


def sigmas(variant: Variant, steps: int, shift: float | None, shape: tuple[int, ...]) -> Sequence[float] | None:
    """A distilled checkpoint's own levels where exactly those are asked for."""
    return variant.sigmas if shift is None and steps == len(variant.sigmas) else None


def decode(vae: nn.Module, latent: Tensor, seed: int) -> Tensor:
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


def find(shapes: Shapes, name: str) -> Recognised | str:
    return recognise_file(FAMILY, shapes, name)


FAMILY = Family(
    id="wan",
    title="Wan",
    recognition=Recognition(find, tensors),
    network=Network(predict, condition, text_crossing=CROSSING),
    sampling=Sampling(sigmas, teacache=teacache, few_steps=FEW_STEPS),
    files=Files(
        pipelines=frozenset({"WanPipeline", "WanImageToVideoPipeline"}),
        components={
            "transformer": frozenset({"WanTransformer3DModel"}),
            "transformer_2": frozenset({"WanTransformer3DModel"}),
            "vae": frozenset({"AutoencoderKLWan"}),
            "scheduler": frozenset(
                {"UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler"}
            ),
            "image_encoder": frozenset({"CLIPVisionModel", "CLIPVisionModelWithProjection"}),
        },
        read=read,
        optional=frozenset({"transformer_2", "image_encoder"}),
    ),
    text=Text({"text_encoder": umt5.KIND}, embed),
    video=Video(decode, encode, decode_frames),
    images=Images(image_to_video),
    lora=LORA,
)
