"""HunyuanVideo text-to-video and image-to-video.

Source: Tencent-Hunyuan/HunyuanVideo and HunyuanVideo-I2V (names, templates and numbers; no code); call conventions as
in diffusers' HunyuanVideoPipeline and HunyuanVideoImageToVideoPipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from ...base.checks import check_encoder, check_vae
from ...base.noise_levels import shifted, straight
from ..text import clip, llama
from . import files
from .few_steps import FEW_STEPS
from .joint import JOINT
from .lora import LORA
from .teacache import teacache

TEMPLATE = (
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: "
    "1. The main content and theme of the video."
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
    "4. background environment, light, style and atmosphere."
    "5. camera angles, movements, and transitions used in the video:<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
)
# Number of template tokens in front of the prompt: the encoder reads them, the transformer does not get them.
TEMPLATE_TOKENS = 95
SCALE = 0.476986
SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 7.0}
PAIRS = {
    "text_encoders": "llava_llama3_fp8_scaled.safetensors (or fp16) with clip_l.safetensors",
    "vae": "hunyuan_video_vae_bf16.safetensors",
}


def read(configs: Mapping[str, Mapping[str, Any]]) -> Variant:
    """Find the variant in a diffusers folder's configs and check that its parts fit each other."""
    transformer, vae, text = (configs[k] for k in ("transformer", "vae", "text_encoder"))
    advice = "Use the vae folder that came with this transformer."
    check_vae(vae["latent_channels"], transformer["out_channels"], advice=advice, is_made=True)
    check_encoder(text["hidden_size"], transformer["text_embed_dim"])
    return _variant(transformer, vae.get("scaling_factor", SCALE), configs["scheduler"], configs.get("opent2v", {}))


def find(shapes: Shapes, name: str) -> Recognised | str:
    """Transformer or VAE. Token-replace I2V has the same tensors as T2V, so only the file's name distinguishes them."""
    recognised = files.transformer(shapes, name) or files.vae(shapes)
    if recognised is None:
        return "'txt_in.individual_token_refiner.blocks.0.norm1.weight' is missing"
    part, layout, prefix, class_name, config, rules = recognised
    transformer = config if part == "transformer" else files.transformer_config()
    return Recognised(part, layout, class_name, config, _variant(transformer, SCALE, SCHEDULER, {}), rules, prefix)


def _variant(
    transformer: Mapping[str, Any], scale: float, scheduler: Mapping[str, Any], overrides: Mapping[str, Any]
) -> Variant:
    picture = transformer.get("image_condition_type")
    names = {None: "T2V", "latent_concat": "I2V", "token_replace": "I2V (token replace)"}
    channels = transformer["out_channels"]
    limit, embeds_guidance = overrides.get("max_tokens", 256), transformer.get("guidance_embeds", True)
    geometry = Geometry(channels=channels, temporal=4, spatial=8, patch=transformer.get("patch_size", 2))
    return Variant(
        family=FAMILY,
        name=overrides.get("title", names[picture]),
        streams=(VideoStream(geometry, std=(1 / scale,)),),
        # The concat variant has no guidance embedding and was trained for cfg 1.
        defaults=Defaults(1280, 720, 129, 24.0, 50, 6.0 if embeds_guidance else 1.0).with_overrides(overrides),
        scheduler=scheduler,
        prompts=(Prompt(limit + TEMPLATE_TOKENS, TEMPLATE.format), Prompt(77, str, "text_encoder_2")),
        task="image" if picture else "text",
        embeds_guidance=embeds_guidance,
        keeps_clean=picture == "token_replace",
        latent_format="HunyuanVideo",
        context_width=transformer["text_embed_dim"],
        memory_factor=1.8,  # comfy/supported_models.py, HunyuanVideo
        pairs=PAIRS,
        facts={"picture": picture},
    )


def sigmas(variant: Variant, steps: int, shift: float | None, shape: tuple[int, ...]) -> list[float]:
    """A straight line from 1, shifted by 7 unless the folder's scheduler says otherwise."""
    return shifted(straight(steps), shift or float(variant.scheduler.get("shift", 7.0)))


def condition(variant: Variant, entry: Entry, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Embedding, mask, pooled embedding, guidance, and the picture's latents where the variant takes them."""
    context, mask, pooled = entry["cross_attn"], entry.get("attention_mask"), entry.get("pooled_output")
    if pooled is None:
        raise FamilyError(
            "The conditioning has no pooled_output: HunyuanVideo reads a second text encoder (CLIP-L). Encode the "
            "prompt with a CLIP of both files."
        )
    mask = context.new_ones(context.shape[:2]) if mask is None else mask
    conditions = {"context": context, "attention_mask": mask.reshape(len(mask), -1), "pooled": pooled}
    if variant.embeds_guidance:
        conditions["guidance"] = torch.full((1,), float(entry.get("guidance", variant.defaults.guidance)))
    if variant.facts["picture"] == "latent_concat":
        picture = entry.get("concat_latent_image")
        if picture is None:
            raise FamilyError(
                "This is an image-to-video model and the conditioning holds no picture (concat_latent_image). Connect "
                "positive, negative and the latent through Image to Video."
            )
        conditions["concat"] = _concat(variant, picture, entry.get("concat_mask"), shape)
    return conditions


def _concat(variant: Variant, picture: Tensor, mask: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """[1, channels + 1, T, h, w]: the known frames' latents and a channel that is 1 where they are known."""
    known = variant.normalise(picture.float())[:, :, : shape[2]]
    channel = known.new_ones(len(known), 1, *known.shape[2:]) if mask is None else 1 - mask.to(known)
    rest = shape[2] - known.shape[2]
    if channel.shape[2] < shape[2]:
        channel = functional.pad(channel, (0, 0, 0, 0, 0, shape[2] - channel.shape[2]))
    known = functional.pad(known, (0, 0, 0, 0, 0, rest))
    return torch.cat([known * channel, channel], dim=1)


def image_to_video(variant: Variant, pictures: Pictures) -> Guided:
    """The first picture as channels beside the noise, or as the first latent frame that is kept."""
    if pictures.start is None or pictures.end is not None:
        connected = "none" if pictures.start is None else "an end picture"
        raise FamilyError(f"{variant.title} starts from one picture; found {connected}. Connect start_image only.")
    latent = pictures.encode(pictures.start)
    count = (pictures.frames - 1) // variant.geometry.temporal + 1
    empty = latent.new_zeros(1, latent.shape[1], count, *latent.shape[3:])
    mask = latent.new_ones(1, 1, count, *latent.shape[3:])
    mask[:, :, :1] = 0
    if variant.facts["picture"] == "latent_concat":
        return Guided({"concat_latent_image": latent, "concat_mask": mask}, empty)
    empty[:, :, :1] = latent
    return Guided({"guiding_frame_index": 0}, empty, mask)


def predict(variant: Variant, transformer: nn.Module, x: Tensor, t: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
    """Flow (noise minus clean) at timestep t = sigma * 1000."""
    guidance = conditions.get("guidance")
    if "concat" in conditions:
        x = torch.cat([x, conditions["concat"]], dim=1)
    return transformer(
        hidden_states=x,
        timestep=t,
        encoder_hidden_states=conditions["context"],
        encoder_attention_mask=conditions["attention_mask"].to(x.dtype),
        pooled_projections=conditions["pooled"].to(x.dtype),
        guidance=None if guidance is None else guidance.expand(len(x)).to(x.dtype) * 1000.0,
        return_dict=False,
    )[0]


def embed(
    encoders: Mapping[str, nn.Module], tokens: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[Tensor, dict[str, Any]]:
    """Llama's third last hidden state behind the template, and CLIP's pooled embedding of the bare prompt."""
    ids, mask = tokens["text_encoder"]
    states = encoders["text_encoder"](input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    pooled = encoders["text_encoder_2"](tokens["text_encoder_2"][0]).pooler_output
    entries = {"attention_mask": mask[:, TEMPLATE_TOKENS:], "pooled_output": pooled}
    return states[-3][:, TEMPLATE_TOKENS:], entries


def decode(vae: nn.Module, latent: Tensor, seed: int) -> Tensor:
    return vae.decode(latent, return_dict=False)[0]  # pyright: ignore[reportCallIssue]


def encode(vae: nn.Module, video: Tensor) -> Tensor:
    return vae.encode(video, return_dict=False)[0].mode()  # pyright: ignore[reportCallIssue]


FAMILY = Family(
    id="hunyuan_video",
    title="HunyuanVideo",
    recognition=Recognition(find, files.tensors),
    network=Network(predict, condition, blocks="transformer_blocks", joint=JOINT),
    sampling=Sampling(sigmas, teacache=teacache, few_steps=FEW_STEPS),
    files=Files(
        pipelines=frozenset({"HunyuanVideoPipeline", "HunyuanVideoImageToVideoPipeline"}),
        components={
            "transformer": frozenset({"HunyuanVideoTransformer3DModel"}),
            "vae": frozenset({"AutoencoderKLHunyuanVideo"}),
            "scheduler": frozenset({"FlowMatchEulerDiscreteScheduler"}),
        },
        read=read,
    ),
    text=Text({"text_encoder": llama.KIND, "text_encoder_2": clip.KIND}, embed),
    video=Video(decode, encode),
    images=Images(image_to_video),
    lora=LORA,
)
