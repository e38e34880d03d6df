"""Mochi 1 text-to-video.

Source: genmoai/mochi @075b6e3 (Apache-2.0); configs and call conventions as in diffusers' MochiPipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...base import (
    Defaults,
    Entry,
    Family,
    FamilyError,
    Files,
    Geometry,
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
from ...base.checks import check_encoder, check_vae
from ...base.noise_levels import linear_quadratic, shifted, straight
from ..text import t5
from . import files
from .few_steps import FEW_STEPS
from .joint import JOINT
from .lora import LORA
from .teacache import teacache

SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0}
PAIRS = {
    "text_encoders": "t5xxl_fp16.safetensors or t5xxl_fp8_e4m3fn_scaled.safetensors",
    "vae": "mochi_vae.safetensors",
}
# Statistics of the published VAE, from AutoencoderKLMochi's config and ComfyUI's latent format.
MEAN = (
    -0.06730895953510081, -0.038011381506090416, -0.07477820912866141, -0.05565264470995561, 0.012767231469026969,
    -0.04703542746246419, 0.043896967884726704, -0.09346305707025976, -0.09918314763016893, -0.008729793427399178,
    -0.011931556316503654, -0.0321993391887285,
)  # fmt: skip
STD = (
    0.9263795028493863, 0.9248894543193766, 0.9393059390890617, 0.959253732819592, 0.8244560132752793,
    0.917259975397747, 0.9294154431013696, 1.3720942357788521, 0.881393668867029, 0.9168315692124348,
    0.9185249279345552, 0.9274757570805041,
)  # fmt: skip


def read(configs: Mapping[str, Mapping[str, Any]]) -> Variant:
    """Check that a diffusers folder's parts fit each other."""
    transformer, vae, text = (configs[k] for k in ("transformer", "vae", "text_encoder"))
    advice = "Use the vae folder that came with this transformer."
    check_vae(vae["latent_channels"], transformer["in_channels"], advice=advice)
    check_encoder(text["d_model"], transformer["text_embed_dim"])
    return _variant(transformer, vae, configs["scheduler"], configs.get("opent2v", {}))


def find(shapes: Shapes, name: str) -> Recognised | str:
    """Transformer or VAE, in the names of diffusers or of the original."""
    recognised = files.transformer(shapes) or files.vae(shapes)
    if isinstance(recognised, str):
        raise FamilyError(recognised)
    if recognised is None:
        return "'t5_yproj.weight' (or 'time_embed.pooler.to_kv.weight') is missing"
    part, layout, prefix, class_name, config, rules = recognised
    transformer = config if part == "transformer" else {"in_channels": 12, "patch_size": 2, "text_embed_dim": 4096}
    variant = _variant(transformer, config if part == "vae" else {}, SCHEDULER, {})
    return Recognised(part, layout, class_name, config, variant, rules, prefix)


def _variant(
    transformer: Mapping[str, Any], vae: Mapping[str, Any], scheduler: Mapping[str, Any], overrides: Mapping[str, Any]
) -> Variant:
    channels = transformer["in_channels"]
    geometry = Geometry(channels=channels, temporal=6, spatial=8, patch=transformer["patch_size"])
    scale = vae.get("scaling_factor") or 1.0
    mean, std = vae.get("latents_mean") or MEAN, vae.get("latents_std") or STD
    return Variant(
        family=FAMILY,
        name=overrides.get("title", "1"),
        streams=(VideoStream(geometry, mean=tuple(mean), std=tuple(value / scale for value in std)),),
        defaults=Defaults(848, 480, 19, 30.0, steps=64, guidance=4.5).with_overrides(overrides),
        scheduler=scheduler,
        prompts=(Prompt(overrides.get("max_tokens", 256), str),),
        latent_format="Mochi",
        context_width=transformer["text_embed_dim"],
        memory_factor=2.0,  # comfy/supported_models.py, GenmoMochi
        # From comfy/sd.py: 1000 values per decoded value of 6 frames, 1.5 * 384 per encoded value.
        decode_floats=6000.0,
        encode_floats=576.0,
        whole_clip=True,
        pairs=PAIRS,
    )


def sigmas(variant: Variant, steps: int, shift: float | None, shape: tuple[int, ...]) -> list[float]:
    """Linear over the first half of the steps, then quadratic; with a shift, the shifted straight line instead."""
    return linear_quadratic(steps) if shift is None else shifted(straight(steps), shift or 1.0)


def condition(variant: Variant, entry: Entry, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The prompt's embedding and which of its tokens count."""
    context, mask = entry["cross_attn"], entry.get("attention_mask")
    mask = context.new_ones(context.shape[:2]) if mask is None else mask
    return {"context": context, "attention_mask": mask.reshape(len(mask), -1)[:, : context.shape[1]].bool()}


def predict(variant: Variant, transformer: nn.Module, x: Tensor, t: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
    """Flow: the transformer counts time the other way round and returns clean minus noise."""
    output = transformer(
        hidden_states=x,
        encoder_hidden_states=conditions["context"],
        timestep=(1000 - t).to(x.dtype),
        encoder_attention_mask=conditions["attention_mask"],
        return_dict=False,
    )[0]
    return -output


def embed(
    encoders: Mapping[str, nn.Module], tokens: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[Tensor, dict[str, Any]]:
    """T5 with its mask; the embedding of an empty prompt is all zeros, as in the original for the negative prompt."""
    ids, mask = tokens["text_encoder"]
    hidden = encoders["text_encoder"](ids, mask).last_hidden_state
    has_text = (mask.sum(1, keepdim=True) > 1).long()  # an empty prompt is its end token alone
    return hidden * has_text.to(hidden).unsqueeze(-1), {"attention_mask": mask * has_text}


def decode(vae: Any, latent: Tensor, seed: int) -> Tensor:
    """As the original does: every stage that makes frames drops those in front of the first one.

    diffusers drops them only at the end, so that its first frames have seen frames that do not exist.
    Source: genmoai/mochi, src/mochi_preview/vae/models.py, DepthToSpaceTime; comfy/ldm/genmo/vae/model.py the same.
    """
    stages = [stage for stage in vae.decoder.up_blocks if stage.temporal_expansion > 1]
    hooks = [stage.register_forward_hook(_drop_lead) for stage in stages]
    drops, vae.drop_last_temporal_frames = vae.drop_last_temporal_frames, False
    try:
        return vae.decode(latent, return_dict=False)[0]
    finally:
        vae.drop_last_temporal_frames = drops
        for hook in hooks:
            hook.remove()


def _drop_lead(stage: Any, inputs: Any, output: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
    frames, cache = output
    return frames[:, :, stage.temporal_expansion - 1 :], cache


def encode(vae: nn.Module, video: Tensor) -> Tensor:
    return vae.encode(video, return_dict=False)[0].mode()  # pyright: ignore[reportCallIssue]


FAMILY = Family(
    id="mochi",
    title="Mochi",
    recognition=Recognition(find, files.tensors),
    network=Network(predict, condition, blocks="transformer_blocks", joint=JOINT),
    sampling=Sampling(sigmas, teacache=teacache, few_steps=FEW_STEPS),
    files=Files(
        pipelines=frozenset({"MochiPipeline"}),
        components={
            "transformer": frozenset({"MochiTransformer3DModel"}),
            "vae": frozenset({"AutoencoderKLMochi"}),
            "scheduler": frozenset({"FlowMatchEulerDiscreteScheduler"}),
        },
        read=read,
    ),
    text=Text({"text_encoder": t5.KIND}, embed),
    video=Video(decode, encode),
    lora=LORA,
)
