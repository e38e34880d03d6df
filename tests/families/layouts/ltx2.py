"""LTX-2: configs of published files, and the makers' names of their tensors."""

from __future__ import annotations

from typing import Any

from opent2v.base import Shapes
from opent2v.families.ltx2 import FAMILY, files
from opent2v.families.ltx2.versions import make_variant

# diffusers' names -> the makers', in order; whole segments or beginnings.
_NAMES = (
    ("audio_proj_in.", "audio_patchify_proj."), ("proj_in.", "patchify_proj."),
    ("audio_time_embed.", "audio_adaln_single."), ("time_embed.", "adaln_single."),
    ("audio_prompt_adaln.", "audio_prompt_adaln_single."), ("prompt_adaln.", "prompt_adaln_single."),
    ("av_cross_attn_video_scale_shift.", "av_ca_video_scale_shift_adaln_single."),
    ("av_cross_attn_video_a2v_gate.", "av_ca_a2v_gate_adaln_single."),
    ("av_cross_attn_audio_scale_shift.", "av_ca_audio_scale_shift_adaln_single."),
    ("av_cross_attn_audio_v2a_gate.", "av_ca_v2a_gate_adaln_single."),
    ("video_connector.", "video_embeddings_connector."), ("audio_connector.", "audio_embeddings_connector."),
)  # fmt: skip
_FLAGS: dict[str, dict[str, Any]] = {
    "2.0": {
        "gated_attn": False, "audio_gated_attn": False, "cross_attn_mod": False, "audio_cross_attn_mod": False,
        "use_prompt_embeddings": True, "ff_bias": True, "use_keyframes_abs_pos_embedding": False,
    },
    "2.3": {
        "gated_attn": True, "audio_gated_attn": True, "cross_attn_mod": True, "audio_cross_attn_mod": True,
        "use_prompt_embeddings": False, "ff_bias": True, "use_keyframes_abs_pos_embedding": False,
    },
}  # fmt: skip
_FLAGS["2.5"] = _FLAGS["2.3"] | {"ff_bias": False, "use_keyframes_abs_pos_embedding": True}
VERSIONS = tuple(_FLAGS)


def original(name: str) -> str:
    """The makers' name of a tensor of the transformer or its connectors."""
    for ours, theirs in _NAMES:
        if name.startswith(ours):
            name = theirs + name[len(ours) :]
            break
    if name.startswith(("video_embeddings", "audio_embeddings")):
        name = name.replace("transformer_blocks.", "transformer_1d_blocks.")
    for stream in ("video", "audio"):
        name = name.replace(f"{stream}_a2v_cross_attn_scale_shift_table", f"scale_shift_table_a2v_ca_{stream}")
    return name.replace("norm_q.", "q_norm.").replace("norm_k.", "k_norm.")


def transformer_config(
    version: str, heads: int, head: int, sound_head: int, caption: int, blocks: int
) -> dict[str, Any]:
    """The config that `files.transformer_config` finds for a transformer of this version and size."""
    width, sound = heads * head, heads * sound_head
    return {
        **files._PUBLISHED, **_FLAGS[version], "audio_ff_bias": True, "use_prompt_adaln_single": True,
        "in_channels": 128, "out_channels": 128, "num_attention_heads": heads, "attention_head_dim": head,
        "cross_attention_dim": width, "audio_in_channels": 128, "audio_out_channels": 128,
        "audio_num_attention_heads": heads, "audio_attention_head_dim": sound_head,
        "audio_cross_attention_dim": sound, "num_layers": blocks,
        "caption_channels": caption if version == "2.0" else width,
    }  # fmt: skip


def connector_configs(config: dict[str, Any], heads: int, blocks: int, registers: int = 128) -> dict[str, Any]:
    """The same for the connectors; `heads` counts for 2.0 only, which has 30."""
    if config["use_prompt_embeddings"]:
        shared = {"num_attention_heads": heads, "width": config["caption_channels"]}
        sides = dict.fromkeys(files.CONNECTORS, shared)
    else:
        widths = config["cross_attention_dim"], config["audio_cross_attention_dim"]
        sides = {
            name: {"num_attention_heads": config["num_attention_heads"], "width": width}
            for name, width in zip(files.CONNECTORS, widths, strict=True)
        }
    return {
        name: {
            **files._CONNECTOR, "num_attention_heads": side["num_attention_heads"],
            "attention_head_dim": side["width"] // side["num_attention_heads"], "num_layers": blocks,
            "num_learnable_registers": registers,
            **({"gated_attention": True} if config["gated_attn"] else {}),
        }
        for name, side in sides.items()
    }  # fmt: skip


def published(version: str, blocks: int = 48) -> tuple[dict[str, Any], Shapes]:
    """(config, names and shapes in diffusers' names) of the published transformer with its connectors."""
    config = transformer_config(version, 32, 128, 64, 3840, blocks)
    connectors = connector_configs(config, 30, 2 if version == "2.0" else 8)
    return config, files.tensors(make_variant(FAMILY, config, connectors), config)


def original_video_vae(name: str) -> str:
    """The makers' name of a tensor of the video's VAE, whose encoder has four levels."""
    if name in ("latents_mean", "latents_std"):
        return f"per_channel_statistics.{name.removeprefix('latents_')}-of-means"
    side, _, rest = name.partition(".")
    level, _, further = rest.partition(".")
    if level == "mid_block":
        rest = f"up_blocks.0.{further}" if side == "decoder" else f"down_blocks.8.{further}"
    elif level in ("up_blocks", "down_blocks"):
        count, _, inside = further.partition(".")
        is_sampler = inside.startswith(("upsamplers.0.", "downsamplers.0."))
        inside = inside.split(".", 2)[2] if is_sampler else inside
        place = 2 * int(count) + (1 if is_sampler else 2) if side == "decoder" else 2 * int(count) + int(is_sampler)
        rest = f"{level}.{place}.{inside}"
    return f"{side}.{rest}".replace("resnets.", "res_blocks.")


_VOCODER = (
    ("upsamplers.", "ups."), ("resnets.", "resblocks."), ("conv_in.", "conv_pre."), ("conv_out.", "conv_post."),
    ("act_out.", "act_post."), ("downsample.filter", "downsample.lowpass.filter"),
)  # fmt: skip


def original_sound_vae(name: str) -> str:
    """The makers' name of a tensor of the sound's VAE, with its vocoder at `vocoder`."""
    if not name.startswith("vocoder."):
        for statistic in ("mean", "std"):
            name = name.replace(f"latents_{statistic}", f"per_channel_statistics.{statistic}-of-means")
        return f"audio_vae.{name}"
    for ours, theirs in _VOCODER:
        name = name.replace(ours, theirs)
    return name
