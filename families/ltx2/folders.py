"""LTX-2 in diffusers' folders: which component holds what, and whether the components belong together.

diffusers' one class of connectors is cut in two, as ComfyUI's files are: the connectors go into the transformer, the
projection in front of them into the CLIP. The sound's VAE takes the vocoder in.

Source: diffusers 0.42.1, pipelines/ltx2 and models/autoencoders/autoencoder_kl_ltx2_audio.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from ...base import Family, FamilyError, FolderPart, Variant
from ...base.checks import check_encoder, check_vae
from ...base.folder_part import Configs
from ...base.keys import rename
from ..text.ltx2_projection import KIND as PROJECTION
from ..text.ltx2_projection import NO_CONNECTORS
from .files import CLASS, CONNECTORS
from .network import REGISTERS
from .vae import with_vocoder
from .versions import SOUND_CHANNELS, make_variant

GEMMA3, GEMMA4 = "Gemma3ForConditionalGeneration", "Gemma4UnifiedForConditionalGeneration"
_WIDE = "LTX2VocoderWithBWE"
PIPELINES = frozenset({"LTX2Pipeline", "LTX2ImageToVideoPipeline", "LTX2ConditionPipeline"})
COMPONENTS = {
    "transformer": frozenset({CLASS}),
    "connectors": frozenset({"LTX2TextConnectors"}),
    "vae": frozenset({"AutoencoderKLLTX2Video"}),
    "audio_vae": frozenset({"AutoencoderKLLTX2Audio"}),
    "vocoder": frozenset({"LTX2Vocoder", _WIDE}),
    "scheduler": frozenset({"FlowMatchEulerDiscreteScheduler"}),
}
# Of classes of older diffusers, whose configs do not name them.
_FIRST = {"use_prompt_embeddings": True, "use_keyframes_abs_pos_embedding": False}
_MEL_FRAMES = 4  # of one latent, in time and in frequency


def read(family: Family, configs: Configs) -> Variant:
    """See `Files.read`.

    Whether a folder holds a distilled checkpoint is told by its name or by "distilled" in opent2v.json.
    """
    transformer = {**_FIRST, **configs["transformer"]}
    overrides, name = configs.get("opent2v", {}), configs.get("folder", {}).get("name", "")
    is_distilled = overrides.get("distilled", "distilled" in name.lower())
    variant = make_variant(
        family, transformer, connector_configs(configs["connectors"]), "distilled" if is_distilled else "dev"
    )
    _check_video(transformer, configs["vae"])
    _check_text(variant, configs["connectors"], configs["text_encoder"])
    _check_sound(transformer, configs["audio_vae"], configs["vocoder"])
    defaults = variant.defaults.with_overrides(overrides)
    prompts = tuple(replace(p, max_tokens=overrides.get("max_tokens", p.max_tokens)) for p in variant.prompts)
    # A folder without dynamic shifting is made for noise levels that it does not state, the distilled ones.
    schedule, stated = variant.facts["schedule"], configs["scheduler"]
    if stated.get("use_dynamic_shifting"):
        schedule = {name: stated.get(name, value) for name, value in schedule.items()}
    return replace(
        variant,
        name=overrides.get("title", variant.name),
        defaults=defaults,
        prompts=prompts,
        facts={**variant.facts, "schedule": schedule},
        remark="For the sound choose this folder's audio_vae in Load Video VAE.",
    )


def connector_configs(connectors: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Attribute of the transformer -> config of the connector there, from the config of diffusers' class."""
    shared = {
        "rope_base_seq_len": connectors["connector_rope_base_seq_len"],
        **{name: connectors[name] for name in _SHARED},
    }
    return {
        name: {
            **shared,
            **{key: connectors[f"{name}_{key}"] for key in _EACH},
            **({"gated_attention": True} if connectors.get(f"{name.removesuffix('_connector')}_gated_attn") else {}),
        }
        for name in CONNECTORS
    }


_SHARED = ("rope_theta", "rope_double_precision", "causal_temporal_positioning", "rope_type")
_EACH = ("num_attention_heads", "attention_head_dim", "num_layers", "num_learnable_registers")


def _check_video(transformer: Mapping[str, Any], vae: Mapping[str, Any]) -> None:
    check_vae(vae["latent_channels"], transformer["in_channels"])
    patches = [
        transformer.get(f"{side}{name}", 1) for side in ("", "audio_") for name in ("patch_size_t", "patch_size")
    ]
    if patches != [1] * 4:
        raise FamilyError(
            f"The transformer's patches are {' x '.join(map(str, patches[:2]))} latents of the video and "
            f"{' x '.join(map(str, patches[2:]))} of the sound; every LTX-2 has 1 x 1. Get its config.json again."
        )
    folds = tuple(
        vae.get(f"{axis}_compression_ratio") or vae[patch] * 2 ** sum(vae["spatio_temporal_scaling"])
        for axis, patch in (("temporal", "patch_size_t"), ("spatial", "patch_size"))
    )
    if folds != (8, 32) or vae.get("timestep_conditioning"):
        kind = " with a decoder that reads a timestep" if vae.get("timestep_conditioning") else ""
        raise FamilyError(
            f"The VAE makes one latent of {folds[0]} frames and {folds[1]} x {folds[1]} pixels{kind}; LTX-2's makes it "
            "of 8 frames and 32 x 32 pixels and reads none. Use the vae folder that came with this transformer."
        )


def _check_text(variant: Variant, connectors: Mapping[str, Any], encoder: Mapping[str, Any]) -> None:
    version, is_first = variant.facts["version"], variant.facts["shares_text"]
    expected = GEMMA4 if version == "2.5" else GEMMA3
    if encoder["_class_name"] != expected:
        raise FamilyError(
            f"The text encoder is a {encoder['_class_name']}; the transformer is an LTX-2 {version}, which reads a "
            f"{expected}. Use the text_encoder folder that came with this transformer."
        )
    text = encoder["text_config"]
    into = text["hidden_size"] * (text["num_hidden_layers"] + 1)
    expected_width = connectors["caption_channels"] * connectors["text_proj_in_factor"]
    check_encoder(into, expected_width, encoder="text encoder", network="projection in connectors")
    if bool(connectors.get("per_modality_projections")) is is_first:
        projects, reads = ("one text for both streams", "one for each")
        if is_first:
            projects, reads = ("a text for each stream", "one for both")
        raise FamilyError(
            f"The connectors project {projects}; LTX-2 {version} reads {reads}. They belong to another version of "
            "LTX-2: use the connectors folder that came with this transformer."
        )
    widths = variant.facts["context_widths"]
    sides = variant.facts["connectors"].values()
    outputs = tuple(side["num_attention_heads"] * side["attention_head_dim"] for side in sides)
    projected = (connectors["caption_channels"],) * 2
    if not is_first:
        projected = connectors["video_hidden_dim"], connectors["audio_hidden_dim"]
    for what, sizes in (("connectors", outputs), ("text projection", projected)):
        if sizes != widths:
            raise FamilyError(
                f"The {what} in connectors: {sizes[0]} wide for the picture and {sizes[1]} for the sound; LTX-2 "
                f"{version} reads {widths[0]} and {widths[1]}. Use the connectors folder that came with this "
                "transformer."
            )
    registers = [side["num_learnable_registers"] for side in sides]
    if any(not count or REGISTERS % count for count in registers):
        raise FamilyError(
            f"The connectors have {' and '.join(map(str, registers))} registers; every LTX-2 has {REGISTERS}. Get the "
            "config.json of connectors again."
        )


def _check_sound(transformer: Mapping[str, Any], vae: Mapping[str, Any], vocoder: Mapping[str, Any]) -> None:
    channels, bins = vae["latent_channels"], vae["mel_bins"]
    latent = channels, bins // _MEL_FRAMES
    expected = SOUND_CHANNELS, transformer["audio_in_channels"] // SOUND_CHANNELS
    if latent != expected:
        raise FamilyError(
            f"The audio VAE makes {latent[0]} channels of {latent[1]} bins and the transformer takes {expected[0]} of "
            f"{expected[1]}. Use the audio_vae folder that came with this transformer."
        )
    mel = vae["output_channels"] * bins
    if vocoder["in_channels"] != mel:
        raise FamilyError(
            f"The vocoder reads {vocoder['in_channels']} bins and the audio VAE makes {mel}. Use the vocoder folder "
            "that came with this audio VAE."
        )


def _transformer(configs: Configs) -> dict[str, Any]:
    # Guidance perturbs attention by our own means, which hold for diffusers' plain processors.
    return {**configs["transformer"], "perturbed_attn": False}


def _projection(configs: Configs) -> dict[str, Any]:
    return {**configs["connectors"], **NO_CONNECTORS, "_class_name": PROJECTION.class_name}


def _text(class_name: str) -> Callable[[Configs], dict[str, Any]]:
    """The part of a Gemma that reads words."""
    return lambda configs: {**configs["text_encoder"]["text_config"], "_class_name": class_name, "use_cache": False}


def _with_vocoder(configs: Configs) -> Callable[[nn.Module], None]:
    config = {name: value for name, value in configs["vocoder"].items() if not name.startswith("_")}
    return with_vocoder(config, configs["vocoder"]["_class_name"] == _WIDE)


PARTS = {
    "transformer": FolderPart(
        "transformer",
        frozenset({CLASS}),
        _transformer,
        beside=("connectors",),
        rules=tuple(rename(f"^{name}") for name in ("text_proj_in", "video_text_proj_in", "audio_text_proj_in")),
    ),
    "projection": FolderPart(
        "connectors", COMPONENTS["connectors"], _projection, rules=tuple(rename(f"^{name}") for name in CONNECTORS)
    ),
    "text_encoder": FolderPart("text_encoder", frozenset({GEMMA3}), _text("Gemma3TextModel")),
    "text_encoder_gemma4": FolderPart("text_encoder", frozenset({GEMMA4}), _text("Gemma4UnifiedTextModel")),
    "audio_vae": FolderPart(
        "audio_vae",
        COMPONENTS["audio_vae"],
        lambda configs: dict(configs["audio_vae"]),
        beside=("vocoder",),
        rules=tuple(
            rename(f"^{name}", f"vocoder.{name}")
            for name in (
                "vocoder", "bwe_generator", "mel_stft", "conv_in", "upsamplers", "resnets", "act_out",
                "conv_out",
            )
        ),
        extend=_with_vocoder,
    ),
}  # fmt: skip
