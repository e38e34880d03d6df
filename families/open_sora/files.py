"""Open-Sora 2.0's transformer files: config from shapes, and the original's names as those of diffusers' Flux.

Source of the names: hpcaitech/Open-Sora @7ad6a96, opensora/models/mmdit (Apache-2.0; no code).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import Tensor

from ...base import FamilyError, Shapes, Variant
from ...base.keys import Rule, Split, chunk, pieces, rename, swap_halves
from ...base.recognise import layers, without_prefix
from ...base.tensors import Tensors

CLASS = "FluxTransformer2DModel"
# Name of the weight of a query or key norm: in the published file, and in files that ComfyUI 0.14 and newer save.
NORM_ENDS = ("scale", "weight")
HALF, PAIRS = "half-split", "interleaved"
# Marker tensors of the published file, and of the same network under diffusers' names.
MARKER, DIFFUSERS_MARKER = "cond_in.weight", "single_transformer_blocks.0.proj_mlp.weight"


def transformer_config(**changes: Any) -> dict[str, Any]:
    """The published transformer: Flux with three axes of positions, and a wider input for the known latents."""
    head = changes.get("attention_head_dim", 128)
    side = head * 7 // 32 * 2
    return {
        "patch_size": 1, "in_channels": 132, "out_channels": 64, "num_layers": 19, "num_single_layers": 38,
        "attention_head_dim": head, "num_attention_heads": 24, "joint_attention_dim": 4096,
        "pooled_projection_dim": 768, "guidance_embeds": False, "axes_dims_rope": (head - 2 * side, side, side),
        **changes,
    }  # fmt: skip


def transformer(shapes: Shapes, name: str) -> tuple[str, str, dict[str, Any], dict[str, tuple[Rule, ...]]] | None:
    """(layout, prefix, config, rules by rope layout with the likely one first), or None for another family's file."""
    stripped = without_prefix(shapes, MARKER)
    if stripped is not None and "img_in.weight" in stripped[1]:
        prefix, inner = stripped
        is_fused = "double_blocks.0.img_attn.qkv.weight" in inner
        norms = [f"double_blocks.0.img_attn.norm.query_norm.{end}" for end in NORM_ENDS]
        norm = next((key for key in norms if key in inner), norms[0])
        config = _config(
            inner, name, "double_blocks", "single_blocks", ("img_in", "cond_in"), norm, "txt_in", "vector_in.in_layer",
            "final_layer.linear",
        )  # fmt: skip
        width, head = config["num_attention_heads"] * config["attention_head_dim"], config["attention_head_dim"]
        likely = (PAIRS, HALF) if is_fused else (HALF, PAIRS)
        rules = {layout: _rules(width, head, layout == HALF) for layout in likely}
        return "original, fused" if is_fused else "original", prefix, config, rules
    stripped = without_prefix(shapes, DIFFUSERS_MARKER)
    if stripped is None or not {"x_embedder.weight", "proj_out.weight"} <= stripped[1].keys():
        return None  # HunyuanVideo, whose single blocks have the same names
    prefix, inner = stripped
    if inner["x_embedder.weight"][1] <= 2 * inner["proj_out.weight"][0]:
        return None  # a Flux model: its input holds the noise alone
    config = _config(
        inner, name, "transformer_blocks", "single_transformer_blocks", ("x_embedder",),
        "transformer_blocks.0.attn.norm_q.weight", "context_embedder", "time_text_embed.text_embedder.linear_1",
        "proj_out",
    )  # fmt: skip
    return "diffusers", prefix, config, {PAIRS: ()}


def _config(
    shapes: Shapes,
    name: str,
    double: str,
    single: str,
    inputs: tuple[str, ...],
    norm: str,
    text: str,
    pooled: str,
    last: str,
) -> dict[str, Any]:
    missing = [key for key in (f"{text}.weight", f"{pooled}.weight", f"{last}.weight", norm) if key not in shapes]
    if missing:
        raise FamilyError(f"{name}: looks like Open-Sora 2.0, and {missing[0]!r} is missing. Download the file again.")
    width, out, head = shapes[f"{inputs[0]}.weight"][0], shapes[f"{last}.weight"][0], shapes[norm][0]
    channels = sum(shapes[f"{key}.weight"][1] for key in inputs)
    check_channels(channels, out, name)
    return transformer_config(
        in_channels=channels, out_channels=out, num_layers=layers(shapes, double),
        num_single_layers=layers(shapes, single), attention_head_dim=head, num_attention_heads=width // head,
        joint_attention_dim=shapes[f"{text}.weight"][1], pooled_projection_dim=shapes[f"{pooled}.weight"][1],
    )  # fmt: skip


def tensors(variant: Variant, config: Mapping[str, Any]) -> Shapes:
    """See `Recognition.tensors`."""
    head = config["attention_head_dim"]
    width, network = config["num_attention_heads"] * head, Tensors()
    network.embedder("time_text_embed.timestep_embedder", width, 256)
    network.embedder("time_text_embed.text_embedder", width, config["pooled_projection_dim"])
    network.linear("context_embedder", width, config["joint_attention_dim"])
    network.linear("x_embedder", width, config["in_channels"])
    network.two_streams(width, head, 4 * width, config["num_layers"], config["num_single_layers"])
    network.linear("proj_out", config["out_channels"], width)
    return network


def check_known(shapes: Shapes, name: str) -> None:
    """Refuse the family's other networks by name.

    Raises:
        FamilyError: Open-Sora 1.x, or the autoencoder of the high-compression variant.
    """
    if layers(shapes, "spatial_blocks") and layers(shapes, "temporal_blocks"):
        raise FamilyError(
            f"{name}: is Open-Sora 1.x (STDiT), another network, which is not supported. Use Open-Sora 2.0 "
            "(Open_Sora_v2.safetensors)."
        )
    first = shapes.get("encoder.project_in.conv.weight", ())
    if len(first) == 5 and "encoder.stages.0.op_list.0.main.conv1.conv.weight" in shapes:
        raise FamilyError(
            f"{name}: is the video DC-AE of the high-compression Open-Sora 2.0, which no library has: diffusers' "
            "AutoencoderDC is for pictures. Use hunyuan_vae.safetensors, with Open_Sora_v2.safetensors."
        )


def check_channels(channels: int, out: int, name: str) -> None:
    """Refuse a network whose input is not 2 x 2 patches of noise, mask and known latents.

    Raises:
        FamilyError: the high-compression variant, or another width.
    """
    if channels == 2 * out + 1:
        raise FamilyError(
            f"{name}: is the high-compression Open-Sora 2.0 (Open_Sora_v2_Video_DC_AE). Only its own video DC-AE "
            "decodes its latents, and diffusers has none: its AutoencoderDC is for pictures. Use "
            "Open_Sora_v2.safetensors with hunyuan_vae.safetensors."
        )
    if channels != 2 * out + 4:
        raise FamilyError(
            f"{name}: its transformer takes {channels} channels a token and returns {out}; expected {2 * out + 4}: "
            f"{out} of noise, 4 of a mask and {out} of what is known. This is no Open-Sora 2.0 model."
        )


def halves_to_pairs(head: int) -> Split:
    """Rows of each head from (all cosines' partners, all sines' partners) to pairs beside each other."""

    def split(tensor: Tensor) -> tuple[Tensor]:
        return (tensor.unflatten(0, (-1, 2, head // 2)).transpose(1, 2).flatten(0, 2),)

    return split


def _then(split: Split, turn: Split) -> Split:
    """A split whose first two parts, query and key, are then reordered."""

    def both(tensor: Tensor) -> list[Tensor]:
        query, key, *others = split(tensor)
        return [*turn(query), *turn(key), *others]

    return both


@cache
def _rules(width: int, head: int, is_half_split: bool) -> tuple[Rule, ...]:
    double, single, embed = "transformer_blocks.{}", "single_transformer_blocks.{}", "time_text_embed"
    turn = halves_to_pairs(head) if is_half_split else None
    three, four = chunk(3), pieces(width, width, width, -1)
    if turn is not None:
        three, four = _then(three, turn), _then(four, turn)
    rules = [
        rename("^img_in", "x_embedder", place=0),
        rename("^cond_in", "x_embedder", place=1),
        rename("^txt_in", "context_embedder"),
    ]
    rules += [
        rename(f"^{ours}.{layer}_layer", f"{embed}.{theirs}.linear_{n}")
        for ours, theirs in (("time_in", "timestep_embedder"), ("vector_in", "text_embedder"))
        for n, layer in ((1, "in"), (2, "out"))
    ]
    for side, names, norms in (
        ("img", ("to_{}", "to_out.0"), "norm"),
        ("txt", ("add_{}_proj", "to_add_out"), "norm_added"),
    ):
        block, attention = f"^double_blocks.{{}}.{side}", f"{double}.attn"
        query, key, value = (f"{attention}.{names[0].format(n)}" for n in "qkv")
        rules += [
            rename(f"{block}_attn.q_proj", query, split=turn),
            rename(f"{block}_attn.k_proj", key, split=turn),
            rename(f"{block}_attn.v_proj", value),
            rename(f"{block}_attn.qkv", query, key, value, split=three),
            *(
                rename(f"{block}_attn.norm.query_norm.{end}", f"{attention}.{norms}_q.weight", split=turn)
                for end in NORM_ENDS
            ),
            *(
                rename(f"{block}_attn.norm.key_norm.{end}", f"{attention}.{norms}_k.weight", split=turn)
                for end in NORM_ENDS
            ),
            rename(f"{block}_attn.proj", f"{attention}.{names[1]}"),
        ]
    for side, norm, ff in (("img", "norm1", "ff"), ("txt", "norm1_context", "ff_context")):
        block = f"^double_blocks.{{}}.{side}"
        rules += [
            rename(f"{block}_mod.lin", f"{double}.{norm}.linear"),
            rename(f"{block}_mlp.0", f"{double}.{ff}.net.0.proj"),
            rename(f"{block}_mlp.2", f"{double}.{ff}.net.2"),
        ]
    block, attention = "^single_blocks.{}", f"{single}.attn"
    rules += [
        rename(f"{block}.q_proj", f"{attention}.to_q", split=turn),
        rename(f"{block}.k_proj", f"{attention}.to_k", split=turn),
        rename(f"{block}.v_mlp", f"{attention}.to_v", f"{single}.proj_mlp", split=pieces(width, -1)),
        rename(f"{block}.linear1", *(f"{attention}.to_{n}" for n in "qkv"), f"{single}.proj_mlp", split=four),
        rename(f"{block}.linear2", f"{single}.proj_out"),
        rename(f"{block}.modulation.lin", f"{single}.norm.linear"),
        *(rename(f"{block}.norm.query_norm.{end}", f"{attention}.norm_q.weight", split=turn) for end in NORM_ENDS),
        *(rename(f"{block}.norm.key_norm.{end}", f"{attention}.norm_k.weight", split=turn) for end in NORM_ENDS),
        rename("^final_layer.adaLN_modulation.1", "norm_out.linear", split=swap_halves),
        rename("^final_layer.linear", "proj_out"),
    ]
    return tuple(rules)


def lora_rules(width: int, head: int) -> dict[str, tuple[Rule, ...]]:
    """Rules by layout for what was trained on the published file (split, half-split) and on fused ones (interleaved).

    A LoRA does not tell how its model stored the rotary positions: it is taken as the likely one of these names.
    """
    split, fused = ("q_proj", "k_proj"), ("attn.qkv", "single_blocks.{}.linear1")
    return {
        "original": tuple(rule for rule in _rules(width, head, True) if not rule.source.endswith(fused)),
        "original, fused": tuple(rule for rule in _rules(width, head, False) if not rule.source.endswith(split)),
    }
