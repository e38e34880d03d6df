"""CogVideoX 2B, 5B, 5B-I2V and 1.5 (5B, 5B-I2V): text and image to video.

Source: THUDM/CogVideo @7a1af71 (SAT code; code and 2B Apache-2.0, 5B and 1.5 under the CogVideoX licence); configs and
call conventions as in diffusers' CogVideoXPipeline and CogVideoXImageToVideoPipeline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...base import (
    Defaults,
    Entry,
    Family,
    FamilyError,
    Files,
    Geometry,
    Guided,
    Images,
    Network,
    Pictures,
    Prompt,
    Recognised,
    Recognition,
    Sampling,
    Shapes,
    Text,
    Variant,
    Video,
    VideoStream,
)
from ...base.checks import check_encoder
from ..text import t5
from . import files
from .joint import JOINT
from .lora import LORA
from .scheduler import CogVideoXDPMScheduler
from .teacache import teacache

# (transformer width, its input channels, latent frames per token) -> name.
NAMES = {
    (1920, 16, 1): "2B",
    (3072, 16, 1): "5B",
    (3072, 32, 1): "5B I2V",
    (3072, 16, 2): "1.5 5B",
    (3072, 32, 2): "1.5 5B I2V",
}
# The offset (ofs) that 1.5 I2V embeds; the same in every call (SAT sample_video.py).
OFFSET = 2.0
PAIRS = {
    "text_encoders": "T5 XXL (t5xxl_fp16 or t5xxl_fp8_e4m3fn)",
    "vae": "the CogVideoX VAE (cogvideox_vae)",
}


def read(configs: Mapping[str, Mapping[str, Any]]) -> Variant:
    """Find the variant in a diffusers folder's configs and check that its parts fit each other."""
    index, transformer, vae, text = (configs[k] for k in ("index", "transformer", "vae", "text_encoder"))
    channels, inputs = vae["latent_channels"], transformer["in_channels"]
    if "Fun" in str(index.get("_class_name")) or inputs not in (channels, 2 * channels):
        raise FamilyError(
            f"This transformer takes {inputs} channels and the VAE makes {channels}: it is a CogVideoX-Fun (control or "
            f"inpainting) model, which is not supported. Expected {channels} (text to video) or {2 * channels} "
            "(image to video)."
        )
    if transformer["out_channels"] != channels:
        raise FamilyError(
            f"The transformer makes {transformer['out_channels']} channels and the VAE reads {channels}. They belong "
            "to different models: use the vae folder that came with this transformer."
        )
    check_encoder(text["d_model"], transformer["text_embed_dim"])
    variant = describe(transformer, vae["scaling_factor"], bool(vae.get("invert_scale_latents")))
    overrides, temporal = configs.get("opent2v", {}), int(vae.get("temporal_compression_ratio", 4))
    return replace(
        variant,
        name=overrides.get("title", variant.name),
        streams=(replace(variant.video, geometry=replace(variant.geometry, temporal=temporal)),),
        defaults=variant.defaults.with_overrides(overrides),
        scheduler={**variant.scheduler, **configs["scheduler"]},
    )


def describe(transformer: Mapping[str, Any], scale: float, inverts: bool) -> Variant:
    """The variant of a transformer's config.

    Args:
        scale: what latents are multiplied with for the transformer.
        inverts: the latents of pictures are divided by it instead (the 1.5 models were trained so).
    """
    width = transformer["num_attention_heads"] * transformer["attention_head_dim"]
    inputs, patch, patch_frames = (
        transformer["in_channels"],
        transformer["patch_size"],
        transformer["patch_size_t"] or 1,
    )
    is_image, is_new = inputs != transformer["out_channels"], patch_frames > 1
    columns, rows = transformer["sample_width"], transformer["sample_height"]
    is_rotary, is_learned = (transformer[f"use_{k}_positional_embeddings"] for k in ("rotary", "learned"))
    # In 1.5 configs `sample_*` is the largest side of the position grid; in 1.0 it is the training resolution and
    # length.
    size = (1360, 768, 81) if is_new else (columns * 8, rows * 8, transformer["sample_frames"])
    geometry = Geometry(
        channels=transformer["out_channels"],
        temporal=4,
        spatial=8,
        patch=patch,
        max_positions=min(rows, columns) // patch if is_new else 1024,
        patch_frames=patch_frames,
        group=2,
        only=size if is_learned else None,
    )
    return Variant(
        family=FAMILY,
        name=NAMES.get((width, inputs, patch_frames), ""),
        streams=(VideoStream(geometry, std=(1 / scale,)),),
        defaults=Defaults(*size, fps=16.0 if is_new else 8.0, steps=50, guidance=6.0),
        scheduler=_scheduler(is_rotary),
        prompts=(Prompt(transformer["max_text_seq_length"], str),),
        prediction="v",
        task="image" if is_image else "text",
        latent_format="CogVideoX",
        context_width=transformer["text_embed_dim"],
        memory_factor=width / 2000 / patch_frames,
        decode_floats=DECODE_FLOATS,
        encode_floats=ENCODE_FLOATS,
        pairs=PAIRS,
        facts={
            "head_width": transformer["attention_head_dim"],
            "is_rotary": is_rotary,
            "base": (rows // patch, columns // patch),
            "picture_scale": 1 / scale if inverts else scale,
            "has_offset": bool(transformer["ofs_embed_dim"]),
        },
    )


# Peak number of values alive per pixel of a frame, counted on the published VAE with 49 frames.
DECODE_FLOATS, ENCODE_FLOATS = 23000.0, 9700.0


def _scheduler(is_rotary: bool) -> dict[str, Any]:
    """The published scheduler settings: DDIM with shifted noise for 2B, DPM for the rest."""
    return {
        "_class_name": "CogVideoXDPMScheduler" if is_rotary else "CogVideoXDDIMScheduler",
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "snr_shift_scale": 1.0 if is_rotary else 3.0,
        "rescale_betas_zero_snr": True,
        "set_alpha_to_one": True,
        "clip_sample": False,
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
    }


def condition(variant: Variant, entry: Entry, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The prompt, and for image to video the picture's latents as the transformer reads them."""
    geometry, conditions = variant.geometry, {"context": entry["cross_attn"]}
    tokens, limit = entry["cross_attn"].shape[1], variant.prompts[0].max_tokens
    if tokens != limit:
        raise FamilyError(
            f"The conditioning has {tokens} tokens; {variant.title} reads exactly {limit}, the padding's too. Encode "
            "the prompt with this model's own CLIP and join no conditionings."
        )
    if geometry.only is not None and shape[2:] != (expected := geometry.latent_shape(*geometry.only)[1:]):
        w, h, n = geometry.only
        raise FamilyError(
            f"The latent is {_latent(shape[2:])}; {variant.title} makes {w} x {h} pixels with {n} frames and nothing "
            f"else, which is {_latent(expected)}. Make it with Empty Video Latent."
        )
    if variant.task == "text":
        return conditions
    picture = entry.get("concat_latent_image")
    if picture is None:
        raise FamilyError(f"{variant.title} starts from a picture and the conditioning has none. {HOW}")
    if picture.shape[2] + geometry.front_padding(picture.shape[2]) == shape[2]:
        # diffusers and SAT put the picture into the very first frame, which is a padding frame.
        picture = functional.pad(picture, (0, 0, 0, 0, 0, geometry.front_padding(picture.shape[2])))
    if picture.shape[1:] != shape[1:]:
        raise FamilyError(
            f"The conditioning's picture is for {_latent(picture.shape[2:])}, the latent is {_latent(shape[2:])}. Give "
            "both the same width, height and length."
        )
    return {**conditions, "picture": picture * variant.facts["picture_scale"]}


HOW = "Connect positive, negative and the latent through Image to Video."


def _latent(shape: Sequence[int]) -> str:
    return f"{shape[2]} x {shape[1]} with {shape[0]} latent frames"


def predict(variant: Variant, transformer: nn.Module, x: Tensor, t: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
    """v at whole timesteps t."""
    geometry, facts = variant.geometry, variant.facts
    if "picture" in conditions:
        x = torch.cat([x, conditions["picture"]], dim=1)
    padding = geometry.front_padding(x.shape[2])
    x = geometry.pad_front(x).transpose(1, 2)  # [B, T, C, h, w], as this family's transformer reads it
    inputs: dict[str, Any] = {}
    if facts["is_rotary"]:
        grid = x.shape[1] // geometry.patch_frames, x.shape[3] // geometry.patch, x.shape[4] // geometry.patch
        inputs["image_rotary_emb"] = rotary(variant, grid, x.device)
    if facts["has_offset"]:
        inputs["ofs"] = x.new_full((1,), OFFSET)
    output = transformer(
        hidden_states=x, encoder_hidden_states=conditions["context"], timestep=t, return_dict=False, **inputs
    )[0]
    return output.transpose(1, 2)[:, :, padding:]


def rotary(variant: Variant, grid: tuple[int, int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """(cos, sin) [tokens, head width] of the positions of (frames, rows, columns) tokens.

    1.0 spreads the positions of its trained size over any other; 1.5 counts on.
    """
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    (frames, rows, columns), base = grid, variant.facts["base"]
    if variant.geometry.patch_frames > 1:
        kind: dict[str, Any] = {"crops_coords": None, "grid_type": "slice", "max_size": base}
    else:
        kind = {"crops_coords": crop(rows, columns, *base)}
    embedding = get_3d_rotary_pos_embed(
        embed_dim=variant.facts["head_width"], grid_size=(rows, columns), temporal_size=frames, device=device, **kind
    )
    return embedding[0], embedding[1]  # pyright: ignore[reportReturnType]


def crop(rows: int, columns: int, base_rows: int, base_columns: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, left), (bottom, right)) of a grid of tokens, made to fit into the trained one and set in its middle."""
    if rows / columns > base_rows / base_columns:
        fitted = base_rows, round(base_rows / rows * columns)
    else:
        fitted = round(base_columns / columns * rows), base_columns
    top, left = round((base_rows - fitted[0]) / 2), round((base_columns - fitted[1]) / 2)
    return (top, left), (top + fitted[0], left + fitted[1])


def cfg(variant: Variant, mode: str, scale: float, timesteps: Tensor) -> list[float]:
    """cfg from 1 up to scale + 1 over the run.

    "dynamic" goes by the share of the schedule that is done. "dynamic (reference)" is what SAT's DynamicCFG and
    diffusers' `use_dynamic_cfg` compute: they subtract a timestep (999 to 0) from the number of steps, so cfg jumps
    between 1 and scale + 1 until the last few steps.
    """
    steps, train_steps = len(timesteps), variant.scheduler["num_train_timesteps"]
    if mode == "dynamic":
        done = [(train_steps - 1 - t) / train_steps for t in timesteps.tolist()]
    else:
        done = [(steps - t) / steps for t in timesteps.tolist()]
    return [1 + scale * (1 - math.cos(math.pi * share**5.0)) / 2 for share in done]


def embed(
    encoders: Mapping[str, nn.Module], tokens: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[Tensor, dict[str, Any]]:
    """Last hidden state of all tokens, the padding's too: neither the encoder nor the transformer gets a mask."""
    ids, _ = tokens["text_encoder"]
    return encoders["text_encoder"](ids).last_hidden_state, {}


def decode(vae: nn.Module, latent: Tensor, seed: int) -> Tensor:
    video = vae.decode(latent, return_dict=False)[0]  # pyright: ignore[reportCallIssue]
    # For an even number of latent frames (only tiles in time have one) the VAE expands the first latent frame to four
    # frames as well: drop the three extra frames.
    return video if latent.shape[2] % 2 else video[:, :, 3:]


def encode(vae: nn.Module, video: Tensor) -> Tensor:
    return vae.encode(video, return_dict=False)[0].mode()  # pyright: ignore[reportCallIssue]


def image_to_video(variant: Variant, pictures: Pictures) -> Guided:
    """The picture as first latent frame beside the noise; nothing behind it."""
    if variant.task != "image":
        raise FamilyError(
            f"{variant.title} makes videos from text alone. Use CogVideoX 5B I2V or 1.5 5B I2V to start from a picture."
        )
    if pictures.start is None or pictures.end is not None:
        raise FamilyError(f"{variant.title} takes a start picture and no end picture.")
    if pictures.strength != 1:
        raise FamilyError(
            f"strength is {pictures.strength:g}; {variant.title} reads its picture as it is. Set it to 1."
        )
    geometry = variant.geometry
    height, width = pictures.start.shape[-2:]
    if (legal := geometry.legal(width, height, pictures.frames)) != (width, height, pictures.frames):
        w, h, n = legal
        raise FamilyError(
            f"{width} x {height} pixels with {pictures.frames} frames cannot be made; nearest: {w} x {h} with {n}."
        )
    latent = pictures.encode(pictures.start)
    samples = latent.new_zeros(1, *geometry.latent_shape(width, height, pictures.frames))
    behind = torch.zeros_like(samples[:, :, 1:])
    return Guided({"concat_latent_image": torch.cat([latent, behind], dim=2)}, samples)


def find(shapes: Shapes, name: str) -> Recognised | str:
    return files.recognise(shapes, describe)


FAMILY = Family(
    id="cogvideox",
    title="CogVideoX",
    recognition=Recognition(find, files.tensors),
    network=Network(predict, condition, blocks="transformer_blocks", joint=JOINT),
    sampling=Sampling(
        cfg_schedules=("constant", "dynamic", "dynamic (reference)"),
        cfg=cfg,
        teacache=teacache,
        schedulers={"CogVideoXDPMScheduler": CogVideoXDPMScheduler},
    ),
    files=Files(
        pipelines=frozenset(
            {
                "CogVideoXPipeline",
                "CogVideoXImageToVideoPipeline",
                "CogVideoXVideoToVideoPipeline",
                "CogVideoXFunControlPipeline",
            }
        ),
        components={
            "transformer": frozenset({"CogVideoXTransformer3DModel"}),
            "vae": frozenset({"AutoencoderKLCogVideoX"}),
            "scheduler": frozenset({"CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"}),
        },
        read=read,
    ),
    text=Text({"text_encoder": t5.KIND}, embed),
    video=Video(decode, encode),
    images=Images(image_to_video),
    lora=LORA,
)
