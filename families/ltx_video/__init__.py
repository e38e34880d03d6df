"""LTX-Video 0.9.0 to 0.9.8, 2B and 13B, text and image to video.

Source: Lightricks/LTX-Video @5260738 (code Apache-2.0); configs and call conventions as in diffusers' LTXPipeline,
LTXImageToVideoPipeline and LTXConditionPipeline. Where those differ from the original, the original is followed: 256
tokens encoded with their mask, noise mixed into the normalised latents before decoding, positions with the causal fix
from 0.9.5 on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...base import (
    Entry,
    Family,
    FamilyError,
    Files,
    Geometry,
    Guided,
    Images,
    Network,
    Pictures,
    Recognised,
    Recognition,
    Sampling,
    Shapes,
    TeaCache,
    Text,
    Variant,
    Video,
)
from ...base.checks import check_encoder, check_vae
from ...base.frames import appended_pictures, cut_by_frames
from ...base.stg import OwnStg
from ...base.teacache import modulated
from ..text import t5
from . import files, streamed, upscaler
from .crossing import CROSSING
from .few_steps import FEW_STEPS
from .lora import LORA
from .versions import BANDS, STATIC, make_variant, sigmas, version_in

# From configs/*.yaml: decode_timestep and decode_noise_scale of all versions with a timestep-conditioned VAE.
DECODE_TIMESTEP, DECODE_NOISE = 0.05, 0.025


def read(configs: Mapping[str, Mapping[str, Any]]) -> Variant:
    """Find the variant in a diffusers folder's configs and check that its parts fit each other.

    0.9.5 and later share one architecture, so the folder's name says which of them it is and whether it is distilled.
    """
    transformer, vae, text = (configs[k] for k in ("transformer", "vae", "text_encoder"))
    check_vae(vae["latent_channels"], transformer["in_channels"])
    check_encoder(text["d_model"], transformer["caption_channels"])
    if transformer.get("patch_size", 1) != 1 or transformer.get("patch_size_t", 1) != 1:
        raise FamilyError(
            f"The transformer's patches are {transformer['patch_size_t']} x {transformer['patch_size']} x "
            f"{transformer['patch_size']} latents; every LTX-Video model has 1 x 1 x 1. Get its config.json again."
        )
    is_newer = "LTXVideo095DownBlock3D" in vae.get("down_block_types", ())
    overrides, name = configs.get("opent2v", {}), configs.get("folder", {}).get("name", "")
    width = transformer["num_attention_heads"] * transformer["attention_head_dim"]
    oldest = "0.9.1" if vae.get("timestep_conditioning") else "0.9.0"
    oldest = ("0.9.7" if width >= 4096 else "0.9.5") if is_newer else oldest
    return make_variant(
        FAMILY,
        width=width,
        version=max(version_in(name), oldest) if is_newer else oldest,
        is_distilled=overrides.get("distilled", "distilled" in name.lower()),
        scheduler=configs["scheduler"],
        is_causal=is_newer,
        context_width=transformer["caption_channels"],
        geometry=Geometry(
            channels=transformer["in_channels"],
            temporal=vae.get("temporal_compression_ratio") or _folds(vae, "patch_size_t"),
            spatial=vae.get("spatial_compression_ratio") or _folds(vae, "patch_size"),
            patch=1,
        ),
        overrides=overrides,
    )


def _folds(vae: Mapping[str, Any], patch: str) -> int:
    return vae[patch] * 2 ** sum(vae["spatio_temporal_scaling"])


def condition(variant: Variant, entry: Entry, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """ComfyUI's own entries ("attention_mask", "frame_rate", "keyframe_idxs", "denoise_mask") and `image_to_video`'s.

    Positions stay two-dimensional: the hosts turn what has more dimensions into the computing dtype, and bf16 rounds
    pixel 1000 by up to 4.
    """
    rate = entry.get("frame_rate") or variant.defaults.fps
    conditions = {"context": entry["cross_attn"], "frame_rate": torch.tensor([float(rate)])}
    if entry.get("attention_mask") is not None:
        conditions["attention_mask"] = entry["attention_mask"]
    if entry.get("denoise_mask") is not None:
        conditions["denoise_mask"] = entry["denoise_mask"][:, :1]
    guides = entry.get("keyframe_idxs")
    if guides is not None:  # newer hosts give first and last position of each token [1, 3, N, 2], older ones the first
        conditions["keyframe_idxs"] = (guides[..., 0] if guides.ndim == 4 else guides).float().flatten(1)
    if entry.get("end_latent") is not None:
        conditions["end_latent"] = entry["end_latent"]
        conditions["end_noise"] = torch.tensor([[float(entry["end_noise"])]])
    return conditions


def predict(variant: Variant, transformer: nn.Module, x: Tensor, t: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
    """Flow (noise minus clean) at timestep t = sigma * 1000; every token has a timestep of its own.

    Where a mask keeps latents, the timestep of their tokens is mask * t: clean at 0. An end picture is appended as
    extra tokens with their own noise level, at the position of the last frame; their prediction is dropped.
    """
    batch, _, _, rows, columns = x.shape
    places, times = _places(variant, x), t[:, None]
    tokens = x.flatten(2).transpose(1, 2)  # [B, T * h * w, C]
    count = tokens.shape[1]
    if "denoise_mask" in conditions:
        times = times * conditions["denoise_mask"].to(t).flatten(1)
    if "keyframe_idxs" in conditions:  # positions of the latent frames that core's nodes have appended at the end
        guides = conditions["keyframe_idxs"].unflatten(1, (3, -1))
        places[:, :, count - guides.shape[2] :] = guides
    if "end_latent" in conditions:
        end = conditions["end_latent"].to(x).flatten(2).transpose(1, 2).expand(batch, -1, -1)
        at = places[:, :, -rows * columns :].clone()
        at[:, 0] = (x.shape[2] - 1) * variant.geometry.temporal
        times = torch.cat(
            [times.expand(batch, count), conditions["end_noise"].to(t).expand(batch, end.shape[1]) * 1000], 1
        )
        tokens, places = torch.cat([tokens, end], 1), torch.cat([places, at], 2)
    places[:, 0] = places[:, 0] * (1 / conditions["frame_rate"].to(places)[:, None])
    output = transformer(
        hidden_states=tokens,
        encoder_hidden_states=conditions["context"],
        timestep=times,
        encoder_attention_mask=conditions.get("attention_mask"),
        video_coords=places,
        return_dict=False,
    )[0]
    return output[:, :count].transpose(1, 2).unflatten(2, x.shape[2:])


def cut(
    variant: Variant, name: str, condition: Tensor, frames: Sequence[Sequence[int]], shape: tuple[int, ...]
) -> Tensor:
    """
    Raises:
        FamilyError: pictures behind the latent's frames, whose places in the video no window knows.
    """
    if name in ("keyframe_idxs", "end_latent", "end_noise"):
        raise appended_pictures(variant)
    return cut_by_frames(variant, name, condition, frames, shape)


def _places(variant: Variant, x: Tensor) -> Tensor:
    """[B, 3, T * h * w]: each token's first frame, row and column in the video."""
    geometry = variant.geometry
    frames, rows, columns = (torch.arange(n, device=x.device, dtype=torch.float32) for n in x.shape[2:])
    frames = frames * geometry.temporal
    if variant.facts["is_causal"]:  # the first latent frame covers one frame, each later one `temporal` frames
        frames = (frames + 1 - geometry.temporal).clamp(min=0)
    grid = torch.meshgrid(frames, rows * geometry.spatial, columns * geometry.spatial, indexing="ij")
    return torch.stack(grid).flatten(1).repeat(x.shape[0], 1, 1)


def embed(
    encoders: Mapping[str, nn.Module], tokens: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[Tensor, dict[str, Any]]:
    """Last hidden state of T5, which is given the mask as in the original; diffusers' pipelines leave it out there."""
    ids, mask = tokens["text_encoder"]
    return encoders["text_encoder"](ids, mask).last_hidden_state, {"attention_mask": mask}


def decode(vae: nn.Module, latent: Tensor, seed: int) -> Tensor:
    """Normalised latent -> video; from 0.9.1 on the VAE removes a little noise itself, drawn from the seed.

    The noise goes into the normalised latent, as in the original (pipeline_ltx_video.py, vae_encode.vae_decode).
    diffusers' LTXPipeline takes the normalisation back first.
    """
    latent, timestep = _for_decoder(vae, latent, seed)
    # Layers of the 0.9.1 decoder draw noise from the global generator.
    with torch.random.fork_rng(devices=[latent.device] if latent.is_cuda else []):
        torch.manual_seed(seed)
        return vae.decode(latent, timestep, return_dict=False)[0]  # pyright: ignore[reportCallIssue]


def decode_frames(vae: nn.Module, latent: Tensor, tiled: bool) -> Iterator[Tensor]:
    """As `decode` with seed 0, one latent frame after the other."""
    latent, timestep = _for_decoder(vae, latent, 0)
    return streamed.decode_frames(vae, latent, tiled, timestep)


def _for_decoder(vae: nn.Module, latent: Tensor, seed: int) -> tuple[Tensor, Tensor | None]:
    """The VAE's own latent, and the timestep [B] of the noise in it where the VAE removes noise."""
    timestep = None
    if vae.config.timestep_conditioning:  # pyright: ignore[reportAttributeAccessIssue]
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed)).to(latent)
        latent = (1 - DECODE_NOISE) * latent + DECODE_NOISE * noise
        timestep = torch.full((len(latent),), DECODE_TIMESTEP, device=latent.device, dtype=latent.dtype)
    mean, std = statistics(vae, latent)
    return latent * std + mean, timestep


def encode(vae: nn.Module, video: Tensor) -> Tensor:
    """Video -> normalised latent."""
    latent = vae.encode(video, return_dict=False)[0].mode()  # pyright: ignore[reportCallIssue]
    mean, std = statistics(vae, latent)
    return (latent - mean) / std


def statistics(vae: nn.Module, like: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation) of the latents, per channel [1, C, 1, 1, 1]."""
    mean, std = (vae.get_buffer(name).to(like).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    return mean, std


def image_to_video(variant: Variant, pictures: Pictures) -> Guided:
    """The start picture is the first latent frame, kept by a mask; an end picture is read as further tokens.

    With a strength below 1 the start picture gets that share of the noise as it goes, as in ComfyUI; the end picture
    is shown with that share of noise throughout.
    """
    picture = pictures.start if pictures.start is not None else pictures.end
    if picture is None:
        raise FamilyError("No picture is given. Connect a start picture, an end picture or both.")
    if pictures.end is not None and not variant.facts["is_causal"]:
        raise FamilyError(
            f"{variant.title} starts from a picture but knows no end picture; 0.9.5 and newer do. Disconnect it."
        )
    width, height = picture.shape[-1], picture.shape[-2]
    samples = torch.zeros(1, *variant.geometry.latent_shape(width, height, pictures.frames))
    mask, entries = None, {}
    if pictures.start is not None:
        samples[:, :, :1] = pictures.encode(pictures.start).to(samples)
        mask = torch.ones_like(samples[:, :1])
        mask[:, :, 0] = 1 - pictures.strength
    if pictures.end is not None:
        clean = pictures.encode(pictures.end).to(samples)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        entries = {"end_latent": torch.lerp(noise, clean, pictures.strength), "end_noise": 1 - pictures.strength}
    return Guided(entries, samples, mask)


def find(shapes: Shapes, name: str) -> Recognised | str:
    return files.recognise(FAMILY, shapes, name)


def stg(variant: Variant) -> OwnStg:
    """configs/ltxv-*.yaml: block 19 of the 2B; the 13B's single numbers are those of its second pass."""
    return OwnStg((27,), BANDS) if variant.facts["is_large"] else OwnStg((19,))


_TEACACHE = TeaCache(
    (2.14700694e01, -1.28016453e01, 2.31279151e00, 7.92487521e-01, 9.69274326e-03), 0.0, 0.5, modulated
)
FAMILY = Family(
    id="ltx_video",
    title="LTX-Video",
    recognition=Recognition(find, files.tensors, stated=files.stated),
    network=Network(predict, condition, blocks="transformer_blocks", cut=cut, text_crossing=CROSSING),
    sampling=Sampling(
        sigmas,
        stg=stg,
        teacache=lambda variant: _TEACACHE if variant.name == "2B 0.9.1" else None,
        few_steps=FEW_STEPS,
    ),
    files=Files(
        pipelines=frozenset({"LTXPipeline", "LTXImageToVideoPipeline", "LTXConditionPipeline"}),
        components={
            "transformer": frozenset({"LTXVideoTransformer3DModel"}),
            "vae": frozenset({"AutoencoderKLLTXVideo"}),
            "scheduler": frozenset({STATIC["_class_name"]}),
        },
        read=read,
    ),
    text=Text({"text_encoder": t5.KIND}, embed),
    video=Video(decode, encode, decode_frames, statistics=statistics),
    images=Images(image_to_video),
    upscaler=upscaler.recognise,
    lora=LORA,
)
