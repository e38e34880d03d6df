"""Single files of LTX-Video: transformer and VAE, in the original's names or diffusers'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...base import Family, FamilyError, Recognised, Shapes, Variant
from ...base.keys import Rule, rename, translate
from ...base.recognise import json_object, layers, without_prefix
from ...base.tensors import Tensors
from .versions import DYNAMIC, FIRST_PASS, STATIC, make_variant, version_in

TRANSFORMER_RULES = (
    rename("patchify_proj", "proj_in"),
    rename("adaln_single", "time_embed"),
    rename("q_norm", "norm_q"),
    rename("k_norm", "norm_k"),
)
_HEADS = 32  # in the 2B and the 13B; shapes do not show the number of heads


def recognise(family: Family, shapes: Shapes, name: str) -> Recognised | str:
    """See `Recognition.find`. All versions have the same tensors: `stated` or the name tells them apart."""
    if shapes.get("initial_conv.weight", (0, 0))[1] == 128 and any(n.startswith("upsampler.") for n in shapes):
        raise FamilyError(
            f"{name} is a latent upscaler, no model. Put it into models/latent_upscale_models and choose it in Upscale "
            "Video Latent."
        )
    for marker, layout, rules in (
        ("patchify_proj.weight", "original", TRANSFORMER_RULES),
        ("proj_in.weight", "diffusers", ()),
    ):
        inside = without_prefix(shapes, marker)
        if inside is not None and "caption_projection.linear_1.weight" in inside[1]:
            return _transformer(family, *inside, layout, rules, name)
    for marker, layout in (
        ("decoder.up_blocks.0.res_blocks.0.conv1.conv.weight", "original"),
        ("latents_mean", "diffusers"),
    ):
        inside = without_prefix(shapes, marker)
        if inside is not None and "encoder.conv_out.conv.weight" in inside[1]:
            return _vae(family, *inside, layout)
    return "'patchify_proj.weight' is missing"


def _transformer(
    family: Family, prefix: str, shapes: Shapes, layout: str, rules: tuple[Rule, ...], name: str
) -> Recognised | str:
    if any(key.startswith("audio_") for key in shapes):
        return "'audio_' tensors are there, which are LTX-2's"
    proj_in = shapes["patchify_proj.weight" if rules else "proj_in.weight"]
    caption = shapes["caption_projection.linear_1.weight"]
    width, version = proj_in[0], version_in(name)
    is_distilled = "distil" in name.lower()
    is_newer = width >= 4096 or is_distilled or version >= "0.9.5"  # the first distilled one is 0.9.6
    variant = make_variant(
        family,
        width=width,
        version=version,
        is_distilled=is_distilled,
        scheduler=STATIC if is_newer else DYNAMIC,
        is_causal=is_newer,
        context_width=caption[1],
    )
    config = {
        "in_channels": proj_in[1],
        "out_channels": shapes["proj_out.weight"][0],
        "num_attention_heads": _HEADS,
        "attention_head_dim": width // _HEADS,
        "cross_attention_dim": shapes["transformer_blocks.0.attn2.to_k.weight"][1],
        "num_layers": layers(shapes, "transformer_blocks"),
        "caption_channels": caption[1],
    }
    return Recognised(
        part="transformer",
        layout=layout,
        class_name="LTXVideoTransformer3DModel",
        config=config,
        variant=variant,
        rules=rules,
        prefix=prefix,
        remark=_remark(variant, is_known=bool(version)),
    )


def stated(recognised: Recognised, metadata: Mapping[str, str], name: str) -> Recognised:
    """See `Recognition.stated`.

    Source: Lightricks/LTX-Video @5260738, pipeline_ltx_video.py and transformer3d.py: the checkpoints' own "config".
    """
    config = json_object(metadata.get("config"))
    transformer, levels = config.get("transformer"), config.get("allowed_inference_steps")
    is_causal = transformer.get("causal_temporal_positioning") if isinstance(transformer, Mapping) else None
    if recognised.part != "transformer" or not (isinstance(is_causal, bool) or isinstance(levels, list)):
        return recognised
    known = tuple(level for level in levels or () if isinstance(level, int | float) and 0 < level <= 1)
    is_distilled = bool(known) or recognised.variant.facts["is_distilled"]
    is_newer = is_causal if isinstance(is_causal, bool) else bool(known) or recognised.variant.facts["is_causal"]
    version = version_in(metadata.get("model_version", "")) or version_in(name)
    is_first_pass = known[: len(FIRST_PASS)] == FIRST_PASS
    variant = make_variant(
        recognised.variant.family,
        width=recognised.config["num_attention_heads"] * recognised.config["attention_head_dim"],
        version=version,
        is_distilled=is_distilled,
        scheduler=STATIC if is_newer else DYNAMIC,
        is_causal=is_newer,
        context_width=recognised.config["caption_channels"],
        overrides={"sigmas": known} if known and not is_first_pass else None,
    )
    return replace(recognised, variant=variant, remark=_remark(variant, is_known=True))


def tensors(variant: Variant, config: Mapping[str, Any]) -> Shapes:
    """See `Recognition.tensors`."""
    width, network = config["num_attention_heads"] * config["attention_head_dim"], Tensors()
    network.linear("proj_in", width, config["in_channels"])
    network.embedder("time_embed.emb.timestep_embedder", width, 256)
    network.linear("time_embed.linear", 6 * width, width)
    network.embedder("caption_projection", width, config["caption_channels"])
    for n in range(config["num_layers"]):
        block = f"transformer_blocks.{n}"
        network[f"{block}.scale_shift_table"] = (6, width)
        for attention, into in (("attn1", width), ("attn2", config["cross_attention_dim"])):
            network.linears(f"{block}.{attention}", ("to_q", "to_out.0"), width, width)
            network.linears(f"{block}.{attention}", ("to_k", "to_v"), width, into)
            network.norms(f"{block}.{attention}", ("norm_q", "norm_k"), width)
        network.linear(f"{block}.ff.net.0.proj", 4 * width, width)
        network.linear(f"{block}.ff.net.2", width, 4 * width)
    network["scale_shift_table"] = (2, width)
    network.linear("proj_out", config["out_channels"], width)
    return network


def _remark(variant: Variant, is_known: bool) -> str:
    if variant.sigmas:
        last_pass = ""
        if variant.sigmas == FIRST_PASS:
            last_pass = f" {len(FIRST_PASS) + 1} steps add a last, finer one."
        return f"Distilled: {len(variant.sigmas)} steps at its own noise levels, cfg 1.{last_pass}"
    if not is_known and not variant.facts["is_causal"]:
        return (
            "The file's name tells no version, so this is taken as 0.9.1 or older. If it is newer, put its version "
            "(0.9.5, 0.9.6, 0.9.8) back into the name: schedule and positions differ."
        )
    return ""


def _vae(family: Family, prefix: str, shapes: Shapes, layout: str) -> Recognised | str:
    is_conditioned = any(".last_time_embedder." in k or k.startswith("decoder.time_embedder.") for k in shapes)
    is_newer = any(f"encoder.down_blocks.{k}.conv.conv.weight" in shapes for k in ("1", "0.downsamplers.0"))
    if is_newer and not is_conditioned:
        return "'decoder.last_time_embedder' is missing, as in LTX-2's VAE"
    rules = () if layout == "diffusers" else vae_rules(is_conditioned, is_newer)
    named: dict[str, tuple[int, ...]] = {}
    for key, shape in shapes.items():
        renamed = translate(key, rules)
        named.update(dict.fromkeys(renamed.names if renamed else (), shape))
    version = ("0.9.5" if is_newer else "0.9.1") if is_conditioned else "0.9.0"
    variant = make_variant(
        family,
        width=2048,
        version=version,
        is_distilled=False,
        scheduler=STATIC if is_newer else DYNAMIC,
        is_causal=is_newer,
    )
    return Recognised(
        part="vae",
        layout=layout,
        class_name="AutoencoderKLLTXVideo",
        config=_vae_config(named, is_conditioned, is_newer),
        variant=variant,
        rules=rules,
        prefix=prefix,
    )


def vae_rules(is_conditioned: bool, is_newer: bool) -> tuple[Rule, ...]:
    """The original's flat list of blocks -> diffusers' blocks with their up- and downsamplers inside.

    Args:
        is_conditioned: whether the decoder takes a timestep (0.9.1 and newer).
        is_newer: the encoder of 0.9.5 and newer.
    """
    if is_conditioned:
        up = {0: "mid_block", **{i: f"up_blocks.{i // 2 - 1}" for i in (2, 4, 6)}}
        up |= {i: f"up_blocks.{i // 2}.upsamplers.0" for i in (1, 3, 5)}
    else:
        up = {0: "mid_block", 1: "up_blocks.0", 2: "up_blocks.1.upsamplers.0", 3: "up_blocks.1"}
        up |= {4: "up_blocks.2.conv_in", 5: "up_blocks.2.upsamplers.0", 6: "up_blocks.2"}
        up |= {7: "up_blocks.3.conv_in", 8: "up_blocks.3.upsamplers.0", 9: "up_blocks.3"}
    if is_newer:
        down = {8: "mid_block", **{i: f"down_blocks.{i // 2}" for i in (0, 2, 4, 6)}}
        down |= {i: f"down_blocks.{i // 2}.downsamplers.0" for i in (1, 3, 5, 7)}
    else:
        down = {0: "down_blocks.0", 1: "down_blocks.0.downsamplers.0", 2: "down_blocks.0.conv_out"}
        down |= {3: "down_blocks.1", 4: "down_blocks.1.downsamplers.0", 5: "down_blocks.1.conv_out"}
        down |= {6: "down_blocks.2", 7: "down_blocks.2.downsamplers.0", 8: "down_blocks.3", 9: "mid_block"}
    return (
        rename("^per_channel_statistics.mean-of-means", "latents_mean"),
        rename("^per_channel_statistics.std-of-means", "latents_std"),
        rename("^per_channel_statistics"),
        rename("res_blocks", "resnets"),
        rename("conv_shortcut", "conv_shortcut.conv"),
        rename("norm3.norm", "norm3"),
        rename("last_time_embedder", "time_embedder"),
        rename("last_scale_shift_table", "scale_shift_table"),
        *(rename(f"^decoder.up_blocks.{i}", f"decoder.{to}", is_last=True) for i, to in up.items()),
        *(rename(f"^encoder.down_blocks.{i}", f"encoder.{to}", is_last=True) for i, to in down.items()),
    )


def _vae_config(shapes: Shapes, is_conditioned: bool, is_newer: bool) -> dict[str, object]:
    """The config of a VAE, from its shapes in diffusers' names."""
    downs, ups = layers(shapes, "encoder.down_blocks"), layers(shapes, "decoder.up_blocks")
    down = [f"encoder.down_blocks.{i}" for i in range(downs)] + ["encoder.mid_block"]
    # diffusers lists a decoder's blocks from the video's end to the latent's end.
    up = [f"decoder.up_blocks.{i}" for i in reversed(range(ups))] + ["decoder.mid_block"]
    factor = 2 if is_conditioned else 1

    def width(block: str) -> int:
        return shapes[f"{block}.resnets.0.conv1.conv.weight"][0]

    def has(start: str) -> bool:
        return any(key.startswith(start) for key in shapes)

    return {
        "latent_channels": shapes["decoder.conv_in.conv.weight"][1],
        "block_out_channels": [width(block) for block in (down if is_newer else down[:-1])],
        "decoder_block_out_channels": [factor * width(block) for block in up[:-1]],
        "layers_per_block": [layers(shapes, f"{block}.resnets") for block in down],
        "decoder_layers_per_block": [layers(shapes, f"{block}.resnets") for block in up],
        "spatio_temporal_scaling": [has(f"{block}.downsamplers.") for block in down[:-1]],
        "decoder_spatio_temporal_scaling": [has(f"{block}.upsamplers.") for block in up[:-1]],
        "decoder_inject_noise": [f"{block}.resnets.0.per_channel_scale1" in shapes for block in up],
        "down_block_types": ["LTXVideo095DownBlock3D" if is_newer else "LTXVideoDownBlock3D"] * downs,
        "downsample_type": ["spatial", "temporal", "spatiotemporal", "spatiotemporal"]
        if is_newer
        else ["conv"] * downs,
        "upsample_residual": [is_conditioned] * ups,
        "upsample_factor": [factor] * ups,
        "timestep_conditioning": is_conditioned,
        "spatial_compression_ratio": 32,
        "temporal_compression_ratio": 8,
    }
