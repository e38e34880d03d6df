"""HunyuanVideo's single files: configs from shapes, and the original's names as diffusers'.

Source of the names: tencent/HunyuanVideo (mp_rank_00_model_states), in ComfyUI's and Kijai's repackaged files the same;
ComfyUI's own modules and the files it saves write a few of them with points (img_attn.qkv for img_attn_qkv).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from ...base import FamilyError, Shapes, Variant
from ...base.keys import Rule, chunk, pieces, rename, swap_halves
from ...base.recognise import layers, without_prefix
from ...base.tensors import PROJECTIONS, Tensors

# (part, layout, prefix, class, config, rules) of a recognised file.
PartFields = tuple[str, str, str, str, dict[str, Any], tuple[Rule, ...]]
CLASS = "HunyuanVideoTransformer3DModel"
# ComfyUI's names for the norms of query and key; before ComfyUI 0.14 their weight was called "scale".
NORMS = (("query_norm", "q_norm"), ("key_norm", "k_norm"))
NORM_ENDS = ("weight", "scale")
# Width of a timestep's sinusoidal embedding.
TIME = 256


def transformer_config(**changes: Any) -> dict[str, Any]:
    """The published text-to-video transformer."""
    return {
        "in_channels": 16, "out_channels": 16, "num_attention_heads": 24, "attention_head_dim": 128, "num_layers": 20,
        "num_single_layers": 40, "num_refiner_layers": 2, "mlp_ratio": 4.0, "patch_size": 2, "patch_size_t": 1,
        "guidance_embeds": True, "text_embed_dim": 4096, "pooled_projection_dim": 768, "image_condition_type": None,
        **changes,
    }  # fmt: skip


def transformer(shapes: Shapes, name: str) -> PartFields | None:
    stripped = without_prefix(shapes, "txt_in.individual_token_refiner.blocks.0.norm1.weight")
    if stripped is not None:
        prefix, inner = stripped
        points = "double_blocks.0.img_attn.qkv.weight" in inner
        named = (f"double_blocks.0.img_attn.norm.query_norm.{end}" for end in NORM_ENDS)
        norm = next((key for key in named if key in inner), "double_blocks.0.img_attn_q_norm.weight")
        config = _config(
            inner, name, ("double_blocks", "single_blocks", "txt_in.individual_token_refiner.blocks"), "img_in.proj",
            norm, "txt_in.input_embedder", "vector_in.in_layer", "guidance_in",
            "final_layer.linear",
        )  # fmt: skip
        renamed = rules(config["num_attention_heads"] * config["attention_head_dim"])
        return "transformer", "ComfyUI" if points else "original", prefix, CLASS, config, renamed
    stripped = without_prefix(shapes, "context_embedder.token_refiner.refiner_blocks.0.norm1.weight")
    if stripped is None:
        return None
    prefix, inner = stripped
    config = _config(
        inner, name,
        ("transformer_blocks", "single_transformer_blocks", "context_embedder.token_refiner.refiner_blocks"),
        "x_embedder.proj", "transformer_blocks.0.attn.norm_q.weight", "context_embedder.proj_in",
        "time_text_embed.text_embedder.linear_1", "time_text_embed.guidance_embedder", "proj_out",
    )  # fmt: skip
    return "transformer", "diffusers", prefix, CLASS, config, ()


def vae(shapes: Shapes) -> PartFields | None:
    """The causal VAE, which has the same names everywhere."""
    first, middle = "decoder.conv_in.conv.weight", "decoder.mid_block.attentions.0.to_q.weight"
    if first not in shapes or middle not in shapes or "quant_conv.weight" not in shapes:
        return None
    return "vae", "diffusers", "", "AutoencoderKLHunyuanVideo", _vae_config(shapes), ()


def _config(
    shapes: Shapes,
    name: str,
    stacks: tuple[str, str, str],
    patch: str,
    norm: str,
    text: str,
    pooled: str,
    guidance: str,
    last: str,
) -> dict[str, Any]:
    if len(shapes[f"{patch}.weight"]) != 5 or f"{pooled}.weight" not in shapes:
        which = "HunyuanVideo 1.5" if len(shapes[f"{patch}.weight"]) == 5 else "HunyuanImage"
        raise FamilyError(
            f"{name}: this is {which}, a relative of HunyuanVideo which is not supported. Choose a HunyuanVideo model."
        )
    width, channels, patch_t, patch_size, _ = shapes[f"{patch}.weight"]
    head = shapes[norm][0]
    out = shapes[f"{last}.weight"][0] // (patch_t * patch_size**2)
    tells = any(key.startswith(guidance) for key in shapes)
    is_picture = re.search(r"i2v|image.?(to|2).?video", name, re.IGNORECASE) is not None
    picture = "latent_concat" if channels == 2 * out + 1 else "token_replace" if is_picture else None
    return transformer_config(
        in_channels=channels, out_channels=out, num_attention_heads=width // head, attention_head_dim=head,
        num_layers=layers(shapes, stacks[0]), num_single_layers=layers(shapes, stacks[1]),
        num_refiner_layers=layers(shapes, stacks[2]), patch_size=patch_size, patch_size_t=patch_t,
        guidance_embeds=tells, text_embed_dim=shapes[f"{text}.weight"][1],
        pooled_projection_dim=shapes[f"{pooled}.weight"][1], image_condition_type=picture,
    )  # fmt: skip


def tensors(variant: Variant, config: Mapping[str, Any]) -> Shapes:
    """See `Recognition.tensors`."""
    head = config["attention_head_dim"]
    width, network = config["num_attention_heads"] * head, Tensors()
    inner, patch, text = int(width * config["mlp_ratio"]), config["patch_size"], "context_embedder"
    network.linear("x_embedder.proj", width, config["in_channels"], config["patch_size_t"], patch, patch)

    network.embedder(f"{text}.time_text_embed.timestep_embedder", width, TIME)
    network.embedder(f"{text}.time_text_embed.text_embedder", width, config["text_embed_dim"])
    network.linear(f"{text}.proj_in", width, config["text_embed_dim"])
    for n in range(config["num_refiner_layers"]):
        block = f"{text}.token_refiner.refiner_blocks.{n}"
        network.norms(block, ("norm1", "norm2"), width, bias=True)
        network.linears(f"{block}.attn", PROJECTIONS, width, width)
        network.linear(f"{block}.ff.net.0.proj", inner, width)
        network.linear(f"{block}.ff.net.2", width, inner)
        network.linear(f"{block}.norm_out.linear", 2 * width, width)
    network.embedder("time_text_embed.timestep_embedder", width, TIME)
    network.embedder("time_text_embed.text_embedder", width, config["pooled_projection_dim"])
    if config["guidance_embeds"]:
        network.embedder("time_text_embed.guidance_embedder", width, TIME)
    network.two_streams(width, head, inner, config["num_layers"], config["num_single_layers"])
    network.linear("proj_out", config["out_channels"] * config["patch_size_t"] * patch**2, width)
    return network


def _vae_config(shapes: Shapes) -> dict[str, Any]:
    count = layers(shapes, "encoder.down_blocks")
    widths = [shapes[f"encoder.down_blocks.{n}.resnets.0.conv1.conv.weight"][0] for n in range(count)]
    return {
        "latent_channels": shapes["decoder.conv_in.conv.weight"][1],
        "block_out_channels": widths,
        "layers_per_block": layers(shapes, "encoder.down_blocks.0.resnets"),
    }


@cache
def rules(width: int) -> tuple[Rule, ...]:
    """The original's names and ComfyUI's -> diffusers'; `width` is the transformer's."""
    double, single = "transformer_blocks.{}", "single_transformer_blocks.{}"
    refiner = "context_embedder.token_refiner.refiner_blocks.{}"
    embed = "time_text_embed"
    split, fused = chunk(3), pieces(width, width, width, -1)
    key_rules = [
        # ComfyUI's spelling is renamed to the original's first, so that the later rules serve both.
        *(rename(f"{s}_attn.{n}", f"{s}_attn_{n}") for s in ("img", "txt", "self") for n in ("qkv", "proj")),
        *(
            rename(f"{s}_attn.norm.{theirs}.{end}", f"{s}_attn_{ours}.weight")
            for s in ("img", "txt")
            for theirs, ours in NORMS
            for end in NORM_ENDS
        ),
        *(rename(f"{s}_mod.lin", f"{s}_mod.linear") for s in ("img", "txt")),
        *(rename(f"{s}_mlp.{n}", f"{s}_mlp.{new}") for s in ("img", "txt") for n, new in (("0", "fc1"), ("2", "fc2"))),
        rename("^single_blocks.{}.modulation.lin", "single_blocks.{}.modulation.linear"),
        *(
            rename(f"^single_blocks.{{}}.norm.{theirs}.{end}", f"single_blocks.{{}}.{ours}.weight")
            for theirs, ours in NORMS
            for end in NORM_ENDS
        ),
        rename("in_layer", "mlp.0"),
        rename("out_layer", "mlp.2"),
        rename("^img_in", "x_embedder"),
        *(
            rename(f"^{ours}.mlp.{n}", f"{embed}.{theirs}.linear_{new}")
            for ours, theirs in (
                ("time_in", "timestep_embedder"),
                ("guidance_in", "guidance_embedder"),
                ("vector_in", "text_embedder"),
            )
            for n, new in (("0", 1), ("2", 2))
        ),
        rename("^txt_in.input_embedder", "context_embedder.proj_in"),
        *(
            rename(f"^txt_in.{ours}.{n}", f"context_embedder.{embed}.{theirs}.linear_{new}")
            for ours, theirs, numbers in (
                ("t_embedder.mlp", "timestep_embedder", ("0", "2")),
                ("c_embedder.mlp", "text_embedder", ("0", "2")),
            )
            for n, new in zip(numbers, (1, 2), strict=True)
        ),
        rename("^txt_in.c_embedder", f"context_embedder.{embed}.text_embedder"),
        rename("^txt_in.individual_token_refiner.blocks.{}", refiner),
        rename(
            "token_refiner.refiner_blocks.{}.self_attn_qkv",
            *(f"token_refiner.refiner_blocks.{{}}.attn.to_{n}" for n in "qkv"),
            split=split,
        ),
        rename("self_attn_proj", "attn.to_out.0"),
        rename(f"{refiner}.adaLN_modulation.1", f"{refiner}.norm_out.linear"),
        rename(f"{refiner}.mlp.0", f"{refiner}.ff.net.0.proj"),
        rename(f"{refiner}.mlp.2", f"{refiner}.ff.net.2"),
        rename(f"{refiner}.mlp.fc1", f"{refiner}.ff.net.0.proj"),
        rename(f"{refiner}.mlp.fc2", f"{refiner}.ff.net.2"),
        rename("^double_blocks.{}.img_attn_qkv", *(f"{double}.attn.to_{n}" for n in "qkv"), split=split),
        rename("^double_blocks.{}.txt_attn_qkv", *(f"{double}.attn.add_{n}_proj" for n in "qkv"), split=split),
    ]
    key_rules += [
        rename(f"^double_blocks.{{}}.{ours}", f"{double}.{theirs}")
        for ours, theirs in (
            ("img_mod.linear", "norm1.linear"),
            ("txt_mod.linear", "norm1_context.linear"),
            ("img_attn_q_norm", "attn.norm_q"),
            ("img_attn_k_norm", "attn.norm_k"),
            ("txt_attn_q_norm", "attn.norm_added_q"),
            ("txt_attn_k_norm", "attn.norm_added_k"),
            ("img_attn_proj", "attn.to_out.0"),
            ("txt_attn_proj", "attn.to_add_out"),
            ("img_mlp.fc1", "ff.net.0.proj"),
            ("img_mlp.fc2", "ff.net.2"),
            ("txt_mlp.fc1", "ff_context.net.0.proj"),
            ("txt_mlp.fc2", "ff_context.net.2"),
        )
    ]
    key_rules += [
        rename(
            "^single_blocks.{}.linear1", *(f"{single}.attn.to_{n}" for n in "qkv"), f"{single}.proj_mlp", split=fused
        ),
        rename("^single_blocks.{}.linear2", f"{single}.proj_out"),
        rename("^single_blocks.{}.modulation.linear", f"{single}.norm.linear"),
        rename("^single_blocks.{}.q_norm", f"{single}.attn.norm_q"),
        rename("^single_blocks.{}.k_norm", f"{single}.attn.norm_k"),
        rename("^final_layer.adaLN_modulation.1", "norm_out.linear", split=swap_halves),
        rename("^final_layer.linear", "proj_out"),
    ]
    return tuple(key_rules)
