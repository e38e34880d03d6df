"""Mochi's single files: configs from shapes, and the original's names as diffusers'.

Source of the names: genmoai/mochi (dit.safetensors, encoder.safetensors, decoder.safetensors), in ComfyUI's repackaged
mochi_preview_bf16.safetensors and mochi_vae.safetensors the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from ...base import Shapes, Variant
from ...base.keys import Rule, chunk, rename, swap_halves
from ...base.recognise import layers, without_prefix
from ...base.tensors import Tensors

# (part, layout, prefix, class, config, rules) of a recognised file.
PartFields = tuple[str, str, str, str, dict[str, Any], tuple[Rule, ...]]


def transformer(shapes: Shapes) -> PartFields | None:
    stripped = without_prefix(shapes, "t5_yproj.weight")
    if stripped is not None:
        prefix, inner = stripped
        count = layers(inner, "blocks")
        config = _config(inner, "blocks", "x_embedder.proj", "attn.q_norm_x", "t5_yproj", "t_embedder.mlp.0", count)
        return "transformer", "original", prefix, "MochiTransformer3DModel", config, transformer_rules(count)
    stripped = without_prefix(shapes, "time_embed.pooler.to_kv.weight")
    if stripped is None:
        return None
    prefix, inner = stripped
    stem, count = "transformer_blocks", layers(inner, "transformer_blocks")
    time = "time_embed.timestep_embedder.linear_1"
    config = _config(inner, stem, "patch_embed.proj", "attn1.norm_q", "time_embed.caption_proj", time, count)
    return "transformer", "diffusers", prefix, "MochiTransformer3DModel", config, ()


def vae(shapes: Shapes) -> PartFields | str | None:
    """The VAE; a text where only one half of it is in the file."""
    if "decoder.block_in.resnets.0.norm1.norm_layer.weight" in shapes:
        config = _vae_config(shapes["decoder.conv_in.weight"], shapes["encoder.proj_in.weight"])
        return "vae", "diffusers", "", "AutoencoderKLMochi", config, ()
    has_decoder = "decoder.blocks.2.blocks.3.stack.5.weight" in shapes
    has_encoder = "encoder.layers.4.layers.1.attn_block.attn.qkv.weight" in shapes
    bare = ("blocks.2.blocks.3.stack.5.weight", "layers.4.layers.1.attn_block.attn.qkv.weight")
    if has_decoder != has_encoder or any(name in shapes for name in bare):
        half = "decoder" if has_decoder or bare[0] in shapes else "encoder"
        return (
            f"This is the {half} of Mochi's VAE alone. Expected both halves in one file: get mochi_vae.safetensors "
            "(Comfy-Org/mochi_preview_repackaged)."
        )
    if not has_decoder:
        return None
    config = _vae_config(shapes["decoder.blocks.0.0.weight"], shapes["encoder.layers.0.weight"])
    return "vae", "original", "", "AutoencoderKLMochi", config, _vae_rules()


def _config(shapes: Shapes, stem: str, patch: str, norm: str, caption: str, time: str, count: int) -> dict[str, Any]:
    width, channels, patch_size, _ = shapes[f"{patch}.weight"]
    head = shapes[f"{stem}.0.{norm}.weight"][0]
    pooled, text = shapes[f"{caption}.weight"]
    return {
        "patch_size": patch_size, "num_attention_heads": width // head, "attention_head_dim": head,
        "num_layers": count, "pooled_projection_dim": pooled, "in_channels": channels, "text_embed_dim": text,
        "time_embed_dim": shapes[f"{time}.weight"][1],
    }  # fmt: skip


def tensors(variant: Variant, config: Mapping[str, Any]) -> Shapes:
    """See `Recognition.tensors`."""
    heads, head, text = config["num_attention_heads"], config["attention_head_dim"], config["text_embed_dim"]
    width, pooled, last = heads * head, config["pooled_projection_dim"], config["num_layers"] - 1
    patch, network = config["patch_size"], Tensors()
    network["pos_frequencies"] = (3, heads, head // 2)
    network.linear("patch_embed.proj", width, config["in_channels"], patch, patch)
    network.embedder("time_embed.timestep_embedder", width, config["time_embed_dim"])
    network.linear("time_embed.pooler.to_kv", 2 * text, text)
    network.linear("time_embed.pooler.to_q", text, text)
    network.linear("time_embed.pooler.to_out", width, text)
    network.linear("time_embed.caption_proj", pooled, text)
    for n in range(last + 1):
        block = f"transformer_blocks.{n}"
        network.linear(f"{block}.norm1.linear", 4 * width, width)
        network.norms(f"{block}.attn1", ("norm_q", "norm_k", "norm_added_q", "norm_added_k"), head)
        network.linears(f"{block}.attn1", ("to_q", "to_k", "to_v"), width, width, bias=False)
        network.linears(f"{block}.attn1", ("add_q_proj", "add_k_proj", "add_v_proj"), width, pooled, bias=False)
        network.linear(f"{block}.attn1.to_out.0", width, width)
        sides = [("ff", width)]
        if n == last:  # the last block's text stream has no consumer, so it lacks these layers
            network.linear(f"{block}.norm1_context.linear_1", pooled, width)
        else:
            network.linear(f"{block}.norm1_context.linear", 4 * pooled, width)
            network.linear(f"{block}.attn1.to_add_out", pooled, width)
            sides.append(("ff_context", pooled))
        for side, channels in sides:
            inner = 4 * channels * 2 // 3
            network.linear(f"{block}.{side}.net.0.proj", 2 * inner, channels, bias=False)
            network.linear(f"{block}.{side}.net.2", channels, inner, bias=False)
    network.linear("norm_out.linear", 2 * width, width)
    network.linear("proj_out", config["in_channels"] * patch**2, width)
    return network


def _vae_config(first: tuple[int, ...], last: tuple[int, ...]) -> dict[str, Any]:
    """Widths follow the published ones: 1, 2, 4, 6 times 128 in the decoder and 1, 2, 4, 6 times 64 in the encoder."""
    inner, outer = first[0] // 6, last[0]
    return {
        "latent_channels": first[1],
        "decoder_block_out_channels": [inner, 2 * inner, 4 * inner, 6 * inner],
        "encoder_block_out_channels": [outer, 2 * outer, 4 * outer, 6 * outer],
    }


@cache
def transformer_rules(count: int) -> tuple[Rule, ...]:
    """The original's names -> diffusers'; `count` is the number of blocks."""
    block, last = "transformer_blocks.{}", count - 1
    split = chunk(3)
    return (
        rename("^x_embedder.proj", "patch_embed.proj"),
        rename("^t_embedder.mlp.0", "time_embed.timestep_embedder.linear_1"),
        rename("^t_embedder.mlp.2", "time_embed.timestep_embedder.linear_2"),
        rename("^t5_y_embedder", "time_embed.pooler"),
        rename("^t5_yproj", "time_embed.caption_proj"),
        # The last block has only a scale for its text stream.
        rename(f"^blocks.{last}.mod_y", f"transformer_blocks.{last}.norm1_context.linear_1"),
        rename("^blocks.{}.mod_y", f"{block}.norm1_context.linear"),
        rename("^blocks.{}.mod_x", f"{block}.norm1.linear"),
        rename("^blocks.{}.attn.qkv_x", *(f"{block}.attn1.to_{n}" for n in "qkv"), split=split),
        rename("^blocks.{}.attn.qkv_y", *(f"{block}.attn1.add_{n}_proj" for n in "qkv"), split=split),
        rename("^blocks.{}.attn.q_norm_x", f"{block}.attn1.norm_q"),
        rename("^blocks.{}.attn.k_norm_x", f"{block}.attn1.norm_k"),
        rename("^blocks.{}.attn.q_norm_y", f"{block}.attn1.norm_added_q"),
        rename("^blocks.{}.attn.k_norm_y", f"{block}.attn1.norm_added_k"),
        rename("^blocks.{}.attn.proj_x", f"{block}.attn1.to_out.0"),
        rename("^blocks.{}.attn.proj_y", f"{block}.attn1.to_add_out"),
        # The original stores the gate in the first half, diffusers in the second.
        rename("^blocks.{}.mlp_x.w1", f"{block}.ff.net.0.proj", split=swap_halves),
        rename("^blocks.{}.mlp_x.w2", f"{block}.ff.net.2"),
        rename("^blocks.{}.mlp_y.w1", f"{block}.ff_context.net.0.proj", split=swap_halves),
        rename("^blocks.{}.mlp_y.w2", f"{block}.ff_context.net.2"),
        rename("^final_layer.mod", "norm_out.linear", split=swap_halves),
        rename("^final_layer.linear", "proj_out"),
    )


def _vae_rules() -> tuple[Rule, ...]:
    rules = [
        rename("^decoder.blocks.0.0", "decoder.conv_in"),
        *(rename(f"^decoder.blocks.0.{n + 1}", f"decoder.block_in.resnets.{n}") for n in range(3)),
        *(rename(f"^decoder.blocks.{n + 1}.blocks.{{}}", f"decoder.up_blocks.{n}.resnets.{{}}") for n in range(3)),
        *(rename(f"^decoder.blocks.{n + 1}.proj", f"decoder.up_blocks.{n}.proj") for n in range(3)),
        rename("^decoder.blocks.4.{}", "decoder.block_out.resnets.{}"),
        rename("^decoder.output_proj", "decoder.proj_out"),
        rename("^encoder.layers.0", "encoder.proj_in"),
        rename("^encoder.output_norm", "encoder.norm_out.norm_layer"),
        rename("^encoder.output_proj", "encoder.proj_out"),
    ]
    stages = [(f"encoder.layers.{n}", "encoder.block_in", n - 1) for n in (1, 2, 3)]
    stages += [(f"encoder.layers.{n}", "encoder.block_out", n - 7) for n in (7, 8, 9)]
    for stage, count in ((0, 3), (1, 4), (2, 6)):
        rules.append(rename(f"^encoder.layers.{stage + 4}.layers.0", f"encoder.down_blocks.{stage}.conv_in.conv"))
        inside = f"encoder.layers.{stage + 4}.layers"
        stages += [(f"{inside}.{n + 1}", f"encoder.down_blocks.{stage}", n) for n in range(count)]
    for source, target, n in stages:
        attention = f"{target}.attentions.{n}"
        rules += [
            rename(f"^{source}.attn_block.attn.qkv", *(f"{attention}.to_{x}" for x in "qkv"), split=chunk(3)),
            rename(f"^{source}.attn_block.attn.out", f"{attention}.to_out.0"),
            rename(f"^{source}.attn_block.norm", f"{target}.norms.{n}.norm_layer"),
            rename(f"^{source}", f"{target}.resnets.{n}"),
        ]
    rules += [
        rename("stack.0", "norm1.norm_layer"),
        rename("stack.2", "conv1.conv"),
        rename("stack.3", "norm2.norm_layer"),
        rename("stack.5", "conv2.conv"),
    ]
    return tuple(rules)
