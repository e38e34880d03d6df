"""Single Wan files: which variant they hold, and from their names to diffusers' names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...base import Family, FamilyError, Recognised, Shapes, Variant
from ...base.file_names import expert_in, is_of_two_experts
from ...base.keys import Rule, rename, translate
from ...base.recognise import layers, without_prefix
from ...base.tensors import PROJECTIONS, Tensors
from .variants import PUBLISHED, VAES, Published, build_variant, encoded_pictures, heads_of, published, width_of

# The makers' names -> diffusers'; norm2 and norm3 swap places.
TRANSFORMER: tuple[Rule, ...] = (
    rename("^time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    rename("^time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    rename("^text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    rename("^text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    rename("^time_projection.1", "condition_embedder.time_proj"),
    rename("^img_emb.proj.0", "condition_embedder.image_embedder.norm1", is_last=True),
    rename("^img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj", is_last=True),
    rename("^img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2", is_last=True),
    rename("^img_emb.proj.4", "condition_embedder.image_embedder.norm2", is_last=True),
    rename("^img_emb.emb_pos", "condition_embedder.image_embedder.pos_embed"),
    rename("^head.modulation", "scale_shift_table"),
    rename("^head.head", "proj_out"),
    rename("^blocks.{}.modulation", "blocks.{}.scale_shift_table"),
    rename("^blocks.{}.norm3", "blocks.{}.norm2", is_last=True),
    rename("^blocks.{}.norm2", "blocks.{}.norm3", is_last=True),
    rename("^blocks.{}.ffn.0", "blocks.{}.ffn.net.0.proj"),
    rename("^blocks.{}.ffn.2", "blocks.{}.ffn.net.2"),
    rename("^blocks.{}.self_attn", "blocks.{}.attn1"),
    rename("^blocks.{}.cross_attn", "blocks.{}.attn2"),
    # These rules come before those of k and v: in LoRA files, where underscores replace points, their names begin
    # alike.
    rename("^blocks.{}.attn2.k_img", "blocks.{}.attn2.add_k_proj"),
    rename("^blocks.{}.attn2.v_img", "blocks.{}.attn2.add_v_proj"),
    rename("^blocks.{}.attn2.norm_k_img", "blocks.{}.attn2.norm_added_k"),
    *(rename(f"^blocks.{{}}.attn{n}.{old}", f"blocks.{{}}.attn{n}.{new}") for n in (1, 2)
      for old, new in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"))),
)  # fmt: skip
# Older diffusers files contain a norm that no version uses.
LEFTOVERS: tuple[Rule, ...] = (rename("^blocks.{}.attn2.norm_added_q"),)

_VAE_INNER = (
    rename("residual.0", "norm1"),
    rename("residual.2", "conv1"),
    rename("residual.3", "norm2"),
    rename("residual.6", "conv2"),
    rename("shortcut", "conv_shortcut"),
)
_VAE_OUTER = (
    *(rename(f"^{side}.{old}", f"{side}.{new}", is_last=True) for side in ("encoder", "decoder") for old, new in (
        ("conv1", "conv_in"), ("head.0", "norm_out"), ("head.2", "conv_out"), ("middle.1", "mid_block.attentions.0"))),
    rename("^conv1", "quant_conv", is_last=True),
    rename("^conv2", "post_quant_conv", is_last=True),
    rename("middle.0", "mid_block.resnets.0"),
    rename("middle.2", "mid_block.resnets.1"),
)  # fmt: skip
# Four consecutive entries make one stage of the decoder.
_IN_STAGE = ("resnets.0", "resnets.1", "resnets.2", "upsamplers.0")
VAE_21: tuple[Rule, ...] = (
    *_VAE_OUTER,
    rename("^encoder.downsamples", "encoder.down_blocks"),
    *(rename(f"^decoder.upsamples.{i}", f"decoder.up_blocks.{i // 4}.{_IN_STAGE[i % 4]}") for i in range(15)),
    *_VAE_INNER,
)  # fmt: skip
# Each stage has two (decoder: three) residual blocks, then the layer that changes the size.
VAE_22: tuple[Rule, ...] = (
    *_VAE_OUTER,
    rename("^encoder.downsamples.{}.downsamples.2", "encoder.down_blocks.{}.downsampler"),
    rename("^encoder.downsamples.{}.downsamples.{}", "encoder.down_blocks.{}.resnets.{}"),
    rename("^decoder.upsamples.{}.upsamples.3", "decoder.up_blocks.{}.upsampler"),
    rename("^decoder.upsamples.{}.upsamples.{}", "decoder.up_blocks.{}.resnets.{}"),
    *_VAE_INNER,
)

# First segment of the tensor names that only unsupported variants have.
_REFUSED = {
    "vace_blocks": "Wan VACE (editing)",
    "face_adapter": "Wan Animate",
    "motion_encoder": "Wan Animate",
    "control_adapter": "Wan Fun Camera",
    "ref_conv": "Wan Fun Control",
    "casual_audio_encoder": "Wan S2V (speech to video)",
    "audio_proj": "Wan HuMo or another audio-driven model",
    "fps_embedding": "Wan SkyReels V2 diffusion forcing",
    "patch_embedding_mask": "SCAIL 2 (a relative of Wan)",
    "patch_embedding_pose": "SCAIL (a relative of Wan)",
    "patch_embedding_global": "WanDancer",
}


def recognise_file(family: Family, shapes: Shapes, name: str) -> Recognised | str:
    """The transformer or VAE in a file, or why it is neither.

    Raises:
        FamilyError: a Wan variant that is not supported.
    """
    for marker, layout, rules in (
        ("head.modulation", "original", TRANSFORMER),
        ("condition_embedder.time_proj.weight", "diffusers", LEFTOVERS),
    ):
        stripped = without_prefix(shapes, marker)
        if stripped is not None:
            return _transformer(family, stripped[1], name, layout, rules, stripped[0])
    for prefix in ("", "model."):
        if prefix + "decoder.middle.0.residual.0.gamma" in shapes:
            return _vae(family, shapes, name, prefix, "original")
        if prefix + "decoder.mid_block.resnets.0.norm1.gamma" in shapes:
            return _vae(family, shapes, name, prefix, "diffusers")
    return "'head.modulation' is missing"


def _transformer(
    family: Family, shapes: Shapes, name: str, layout: str, rules: tuple[Rule, ...], prefix: str
) -> Recognised | str:
    for stem, variant in _REFUSED.items():
        if any(key.startswith(stem + ".") for key in shapes):
            raise FamilyError(
                f"{name}: this is {variant} ('{stem}...' is in it), which is not supported. Choose a text-to-video "
                "or image-to-video model."
            )
    # The config can be read from the tensors outside of the blocks and in the first block.
    few = {key: shape for key, shape in shapes.items() if not key.startswith("blocks.") or key.startswith("blocks.0.")}
    known = {new: shape for key, shape in few.items() for new in _names(key, rules)}
    try:
        config = _config(known, layers(shapes, "blocks"))
    except KeyError as error:
        return f"{error} is missing (in diffusers' words)"
    if config["num_attention_heads"] == 0:
        return f"its blocks are {known['proj_out.weight'][1]} wide, not a multiple of 128"
    latents = config["out_channels"]
    vae = VAES.get(latents)
    if vae is None or config["in_channels"] not in (latents, 2 * latents + 4):
        raise FamilyError(
            f"{name}: this Wan model takes {config['in_channels']} channels and returns {latents}. Expected 16 or 36 "
            "to 16, or 48 to 48; control and editing models (Fun and others) are not supported."
        )
    expert, model, remark = _by_name(config, name)
    variant = build_variant(
        family,
        config,
        {**vae, "scale_factor_spatial": model.spatial or vae["scale_factor_spatial"]},
        model,
        boundary=model.boundary,
        expert=expert,
        has_token_times=latents == 48 or model.has_token_times,
    )
    return Recognised("transformer", layout, "WanTransformer3DModel", config, variant, rules, prefix, remark)


def _names(name: str, rules: tuple[Rule, ...]) -> tuple[str, ...]:
    renamed = translate(name, rules)
    return renamed.names if renamed else ()


def _config(known: Shapes, count: int) -> dict[str, Any]:
    """WanTransformer3DModel's config from shapes under diffusers' names."""
    embedder = "condition_embedder"
    image = known.get(f"{embedder}.image_embedder.norm1.weight")
    positions = known.get(f"{embedder}.image_embedder.pos_embed")
    added = known.get("blocks.0.attn2.add_k_proj.weight")
    heads, channels, positions_at_most = heads_of(known["proj_out.weight"][1])
    return {
        "patch_size": [1, 2, 2],
        "num_attention_heads": heads,
        "attention_head_dim": channels,
        "in_channels": known["patch_embedding.weight"][1],
        "out_channels": known["proj_out.weight"][0] // 4,
        "text_dim": known[f"{embedder}.text_embedder.linear_1.weight"][1],
        "freq_dim": known[f"{embedder}.time_embedder.linear_1.weight"][1],
        "ffn_dim": known["blocks.0.ffn.net.0.proj.weight"][0],
        "num_layers": count,
        "cross_attn_norm": "blocks.0.norm2.weight" in known,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
        "image_dim": image[0] if image else None,
        "added_kv_proj_dim": added[1] if added else None,
        "pos_embed_seq_len": positions[1] if positions else None,
        "rope_max_seq_len": positions_at_most,
    }


def tensors(variant: Variant, config: Mapping[str, Any]) -> Shapes:
    """See `Recognition.tensors`."""
    width, ffn, image = width_of(config), config["ffn_dim"], config["image_dim"]
    embedder, network = "condition_embedder", Tensors()
    network.linear("patch_embedding", width, config["in_channels"], *config["patch_size"])
    for name, into in (("time", config["freq_dim"]), ("text", config["text_dim"])):
        network.embedder(f"{embedder}.{name}_embedder", width, into)
    network.linear(f"{embedder}.time_proj", 6 * width, width)
    if image:
        network.norm(f"{embedder}.image_embedder.norm1", image)
        network.linear(f"{embedder}.image_embedder.ff.net.0.proj", image, image)
        network.linear(f"{embedder}.image_embedder.ff.net.2", width, image)
        network.norm(f"{embedder}.image_embedder.norm2", width)
        if config["pos_embed_seq_len"]:
            network[f"{embedder}.image_embedder.pos_embed"] = (1, config["pos_embed_seq_len"], image)
    for n in range(config["num_layers"]):
        block = f"blocks.{n}"
        network[f"{block}.scale_shift_table"] = (1, 6, width)
        if config["cross_attn_norm"]:
            network.norm(f"{block}.norm2", width)
        for attention in (f"{block}.attn1", f"{block}.attn2"):
            network.linears(attention, PROJECTIONS, width, width)
            network.norms(attention, ("norm_q", "norm_k"), width)
        if config["added_kv_proj_dim"]:
            network.linears(f"{block}.attn2", ("add_k_proj", "add_v_proj"), width, config["added_kv_proj_dim"])
            network.norm(f"{block}.attn2.norm_added_k", width, bias=False)
        network.linear(f"{block}.ffn.net.0.proj", ffn, width)
        network.linear(f"{block}.ffn.net.2", width, ffn)
    network["scale_shift_table"] = (1, 2, width)
    network.linear("proj_out", 4 * config["out_channels"], width)
    return network


def _by_name(config: dict[str, Any], name: str) -> tuple[str, Published, str]:
    """(expert, published model, remark): either expert of T2V-A14B has the tensors of Wan 2.1 T2V 14B."""
    expert, is_new = expert_in(name), is_of_two_experts(name)
    model, pictures = published(config, bool(expert), name), encoded_pictures(config)
    is_large = config["num_attention_heads"] == 40
    if is_large and config["in_channels"] == 36 and pictures == 0:
        model = PUBLISHED[5120, 36, 0, True]  # only I2V-A14B has these tensors
    remark = ""
    if is_large and not pictures and not expert and (model.boundary or is_new):
        remark = (
            "The name tells neither high_noise nor low_noise. If it is one of two experts, put one of these words into "
            "the name of the file or of its folder, or set expert of Load Video Diffusion Model: the sampler then "
            "checks that both are connected in their places."
        )
    return expert, model, remark


def _vae(family: Family, shapes: Shapes, name: str, prefix: str, layout: str) -> Recognised | str:
    first = ("encoder.conv1.weight", "encoder.conv_in.weight")[layout == "diffusers"]
    last = ("decoder.head.0.gamma", "decoder.norm_out.gamma")[layout == "diffusers"]
    latent = ("conv2.weight", "post_quant_conv.weight")[layout == "diffusers"]
    for needed in (first, last, latent):
        if prefix + needed not in shapes:
            return f"'{prefix}{needed}' is missing"
    base, channels = shapes[prefix + first][0], shapes[prefix + latent][0]
    if channels not in VAES:
        return f"its VAE makes {channels} latent channels, not {' or '.join(map(str, VAES))}"
    out_channels = shapes.get(
        prefix + ("decoder.head.2.weight", "decoder.conv_out.weight")[layout == "diffusers"], (0,)
    )[0]
    usual = VAES[channels].get("out_channels", 3)
    if out_channels not in (0, usual):
        raise FamilyError(
            f"{name}: this is a Wan VAE whose decoder makes {out_channels} channels, not {usual}: one that upscales "
            "while it decodes, which is not supported. Choose wan_2.1_vae.safetensors or wan2.2_vae.safetensors."
        )
    config = {**VAES[channels], "base_dim": base, "decoder_base_dim": shapes[prefix + last][0]}
    rules = () if layout == "diffusers" else VAE_22 if channels == 48 else VAE_21
    # The transformer's facts are those of the model most used with this VAE.
    transformer = _USUAL[channels]
    what = replace(published(transformer, False, ""), name=f"{'2.2' if channels == 48 else '2.1'} VAE")
    variant = build_variant(family, transformer, config, what, has_token_times=channels == 48)
    return Recognised("vae", layout, "AutoencoderKLWan", config, variant, rules, prefix)


_USUAL: dict[int, dict[str, Any]] = {
    channels: {
        "num_attention_heads": heads, "attention_head_dim": 128, "in_channels": channels, "text_dim": 4096,
        "patch_size": [1, 2, 2],
    }
    for channels, heads in ((16, 40), (48, 24))
}  # fmt: skip
