"""Open-Sora 2.0: from words, from pictures at either end, or on from a video, all with one model.

Source: hpcaitech/Open-Sora @7ad6a96 (Apache-2.0; names, numbers and order of operations, no code). The network is
diffusers' FluxTransformer2DModel with positions in time, and an input that is wide enough for the known latents.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...base import (
    Defaults,
    Entry,
    Family,
    FamilyError,
    Files,
    Geometry,
    Images,
    Network,
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
from ...base.noise_levels import shifted, straight
from ..hunyuan_video import SCALE, decode, encode
from ..text import clip, t5
from . import files
from .guidance import OSCILLATING, cfg, picture_guidance
from .joint import JOINT
from .lora import LORA
from .pictures import CLIPS, beside_the_noise, finish, image_to_video

SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}
PAIRS = {
    "text_encoders": "t5xxl_fp8_e4m3fn_scaled.safetensors (or fp16) with clip_l.safetensors",
    "vae": "hunyuan_vae.safetensors (or hunyuan_video_vae_bf16.safetensors)",
}
# Points of a straight line: tokens of one frame -> shift of one frame.
SHIFTS = (256, 1.0), (4096, 3.0)


def read(configs: Mapping[str, Mapping[str, Any]]) -> Variant:
    """Find the variant in a diffusers folder's configs and check that its parts fit each other."""
    transformer, vae, text = (configs[k] for k in ("transformer", "vae", "text_encoder"))
    files.check_channels(transformer["in_channels"], transformer["out_channels"], configs["folder"]["name"])
    if 4 * vae["latent_channels"] != transformer["out_channels"]:
        raise FamilyError(
            f"The VAE makes {vae['latent_channels']} latent channels, {4 * vae['latent_channels']} a token, and the "
            f"transformer returns {transformer['out_channels']}. Use the vae folder that came with this transformer."
        )
    check_encoder(text["d_model"], transformer["joint_attention_dim"])
    return _variant(transformer, vae.get("scaling_factor", SCALE), configs["scheduler"], configs.get("opent2v", {}))


def find(shapes: Shapes, name: str) -> Recognised | str:
    """The transformer; the VAE is HunyuanVideo's, name for name, and recognised there."""
    files.check_known(shapes, name)
    recognised = files.transformer(shapes, name)
    if recognised is None:
        return f"{files.MARKER!r} is missing"
    layout, prefix, config, rules = recognised
    remark = ""
    if len(rules) > 1:
        remark = f"Rope layout {next(iter(rules))}. Should every video be noise, choose the other in rope_layout."
    return Recognised(
        "transformer",
        layout,
        files.CLASS,
        config,
        _variant(config, SCALE, SCHEDULER, {}),
        next(iter(rules.values())),
        prefix,
        remark,
        rules,
    )


def _variant(
    transformer: Mapping[str, Any], scale: float, scheduler: Mapping[str, Any], overrides: Mapping[str, Any]
) -> Variant:
    channels = transformer["out_channels"] // 4
    geometry = Geometry(channels=channels, temporal=4, spatial=8)
    defaults = Defaults(336, 192, 129, 24.0, steps=50, guidance=7.5, picture_guidance=3.0).with_overrides(overrides)
    size = geometry.latent_shape(defaults.width, defaults.height, defaults.frames)
    return Variant(
        family=FAMILY,
        name=overrides.get("title", ""),
        streams=(VideoStream(geometry, std=(1 / scale,)),),
        defaults=defaults,
        # For other packs' samplers, which take one shift: the shift at the model's own size.
        scheduler={**scheduler, "shift": shift_of((1, *size))},
        prompts=(Prompt(overrides.get("max_tokens", 512), str), Prompt(77, str, "text_encoder_2")),
        latent_format="HunyuanVideo",
        context_width=transformer["joint_attention_dim"],
        memory_factor=1.8,  # as HunyuanVideo: the same width, tokens and number of blocks
        pairs=PAIRS,
    )


def shift_of(shape: tuple[int, ...]) -> float:
    """Larger and longer videos spend more steps on layout and motion."""
    _, _, frames, height, width = shape
    (few, low), (many, high) = SHIFTS
    tokens = (height // 2) * (width // 2)
    return (low + (high - low) * (tokens - few) / (many - few)) * math.sqrt(frames)


def sigmas(variant: Variant, steps: int, shift: float | None, shape: tuple[int, ...]) -> list[float]:
    """A straight line from 1, shifted by what size and length ask for."""
    return shifted(straight(steps), shift or shift_of(shape))


def complete(prompt: str, fps: float, motion_score: float) -> str:
    """The prompt as the model was trained to read it: it ends with the frame rate and the motion score."""
    text = prompt.strip()
    text = text if text.endswith(".") else f"{text}."
    if not re.search(r"\d+ FPS\.$", text):
        text += f" {fps:g} FPS."
    return f"{text} {motion_score or 4:g} motion score."


def condition(variant: Variant, entry: Entry, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """T5's embedding without a mask, CLIP-L's pooled one, and the known latents with their mask."""
    pooled = entry.get("pooled_output")
    if pooled is None:
        raise FamilyError(
            "The conditioning has no pooled_output: Open-Sora 2.0 reads a second text encoder (CLIP-L). Encode the "
            "prompt with a CLIP of both files: Load Video Text Encoder, or ComfyUI's DualCLIPLoader with type flux."
        )
    known = beside_the_noise(variant, entry, shape)
    return {"context": entry["cross_attn"], "pooled": pooled, "known": known}


def predict(variant: Variant, transformer: nn.Module, x: Tensor, t: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
    """Flow (noise minus clean) at timestep t = sigma * 1000."""
    _, channels, frames, height, width = x.shape
    rows, columns = height // 2, width // 2
    known = conditions["known"].to(x).expand(len(x), -1, -1, -1, -1)
    tokens = torch.cat([_packed(x), _packed(known)], dim=-1)
    context = conditions["context"]
    places = torch.cartesian_prod(*(torch.arange(n, device=x.device) for n in (frames, rows, columns)))
    tokens_out = transformer(
        hidden_states=tokens,
        encoder_hidden_states=context,
        pooled_projections=conditions["pooled"].to(x.dtype),
        timestep=t / 1000,
        img_ids=places.float(),
        txt_ids=torch.zeros(context.shape[1], 3, device=x.device),
        return_dict=False,
    )[0]
    # Tokens in the order time, rows, columns -> [B, C, T, h, w]
    tokens_out = tokens_out.reshape(len(x), frames, rows, columns, channels, 2, 2)
    return tokens_out.permute(0, 4, 1, 2, 5, 3, 6).reshape(x.shape)


def _packed(latent: Tensor) -> Tensor:
    """[B, C, T, h, w] -> tokens [B, T * h/2 * w/2, C * 4]."""
    patches = latent.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))  # B C T rows 2 columns 2
    return patches.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(1, 3)


def embed(
    encoders: Mapping[str, nn.Module], tokens: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[Tensor, dict[str, Any]]:
    """T5's last hidden state of all tokens, the padding's too: it gets no mask; and CLIP's pooled embedding."""
    context = encoders["text_encoder"](tokens["text_encoder"][0]).last_hidden_state
    return context, {"pooled_output": encoders["text_encoder_2"](tokens["text_encoder_2"][0]).pooler_output}


FAMILY = Family(
    id="open_sora",
    title="Open-Sora 2.0",
    recognition=Recognition(find, files.tensors, (files.HALF, files.PAIRS)),
    network=Network(predict, condition, blocks="transformer_blocks", joint=JOINT),
    sampling=Sampling(sigmas, cfg_schedules=(OSCILLATING, "constant"), cfg=cfg),
    files=Files(
        pipelines=frozenset({"OpenSoraPipeline", "OpenSora2Pipeline"}),
        components={
            "transformer": frozenset({files.CLASS}),
            "vae": frozenset({"AutoencoderKLHunyuanVideo"}),
            "scheduler": frozenset({"FlowMatchEulerDiscreteScheduler"}),
        },
        read=read,
    ),
    text=Text({"text_encoder": t5.KIND, "text_encoder_2": clip.KIND}, embed, complete),
    video=Video(decode, encode, latents="hunyuan_video"),
    images=Images(image_to_video, CLIPS, picture_guidance, finish),
    lora=LORA,
)
