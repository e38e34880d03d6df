"""CogVideoX in single files: diffusers' names (also Kijai's and most others), ComfyUI's, and SAT's, the original.

Source of SAT's names: diffusers' scripts/convert_cogvideox_to_diffusers.py; of ComfyUI's: its comfy/ldm/cogvideo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...base import FamilyError, Recognised, Shapes, Variant
from ...base.keys import Rule, chunk, rename
from ...base.recognise import layers, without_prefix
from ...base.tensors import PROJECTIONS, Tensors

Describe = Callable[[Mapping[str, Any], float, bool], Variant]


def _adaln(tensor: Tensor) -> Sequence[Tensor]:
    """SAT's one modulation of a block -> norm1 and norm2: each takes three parts of the video's and the text's six."""
    parts = tensor.chunk(12)
    return torch.cat([*parts[0:3], *parts[6:9]]), torch.cat([*parts[3:6], *parts[9:12]])


_LAYER, _BLOCK = "^transformer.layers.{}", "transformer_blocks.{}"
SAT: tuple[Rule, ...] = (
    rename("embed_tokens"),
    rename("^mixins.pos_embed.freqs_cos"),
    rename("^mixins.pos_embed.freqs_sin"),
    rename("^transformer.position_embeddings"),
    rename(
        "^mixins.adaln_layer.adaLN_modulations.{}.1", f"{_BLOCK}.norm1.linear", f"{_BLOCK}.norm2.linear", split=_adaln
    ),
    rename("^mixins.adaln_layer.query_layernorm_list.{}", f"{_BLOCK}.attn1.norm_q"),
    rename("^mixins.adaln_layer.key_layernorm_list.{}", f"{_BLOCK}.attn1.norm_k"),
    rename(f"{_LAYER}.attention.query_key_value", *(f"{_BLOCK}.attn1.to_{n}" for n in "qkv"), split=chunk(3)),
    rename(f"{_LAYER}.attention.dense", f"{_BLOCK}.attn1.to_out.0"),
    rename(f"{_LAYER}.input_layernorm", f"{_BLOCK}.norm1.norm"),
    rename(f"{_LAYER}.post_attn1_layernorm", f"{_BLOCK}.norm2.norm"),
    rename(f"{_LAYER}.mlp.dense_h_to_4h", f"{_BLOCK}.ff.net.0.proj"),
    rename(f"{_LAYER}.mlp.dense_4h_to_h", f"{_BLOCK}.ff.net.2"),
    rename("^transformer.final_layernorm", "norm_final"),
    *(
        rename(f"^{kind}_embed.{old}", f"{kind}_embedding.linear_{new}")
        for kind in ("time", "ofs")
        for old, new in ((0, 1), (2, 2))
    ),
    rename("^mixins.patch_embed", "patch_embed"),
    rename("^mixins.pos_embed.pos_embedding", "patch_embed.pos_embedding"),
    rename("^mixins.final_layer.norm_final", "norm_out.norm"),
    rename("^mixins.final_layer.adaLN_modulation.1", "norm_out.linear"),
    rename("^mixins.final_layer.linear", "proj_out"),
)
COMFYUI: tuple[Rule, ...] = (
    *(rename("^blocks.{}." + n, f"{_BLOCK}.attn1.to_{n}") for n in "qkv"),
    *(rename("^blocks.{}.norm_" + n, f"{_BLOCK}.attn1.norm_{n}") for n in "qk"),
    rename("^blocks.{}.attn_out", f"{_BLOCK}.attn1.to_out.0"),
    rename("^blocks.{}.ff_proj", f"{_BLOCK}.ff.net.0.proj"),
    rename("^blocks.{}.ff_out", f"{_BLOCK}.ff.net.2"),
    rename("^blocks.{}", _BLOCK),
    *(rename(f"^{k}_embedding_linear_{n}", f"{k}_embedding.linear_{n}") for k in ("time", "ofs") for n in (1, 2)),
)
# SAT numbers the decoder's four levels from its end.
SAT_VAE: tuple[Rule, ...] = (
    rename("^loss"),
    rename("^encoder.down.{}", "encoder.down_blocks.{}"),
    *(rename(f"^decoder.up.{n}", f"decoder.up_blocks.{3 - n}") for n in range(4)),
    rename("downsample", "downsamplers.0"),
    rename("upsample", "upsamplers.0"),
    rename("mid.block_1", "mid_block.resnets.0"),
    rename("mid.block_2", "mid_block.resnets.1"),
    rename("block.{}", "resnets.{}"),
    rename("nin_shortcut", "conv_shortcut"),
)

# Marker of each layout -> (layout, rules, the module's name -> the file's name of what the config is read from).
_TRANSFORMERS = (
    ("transformer_blocks.0.attn1.to_q.weight", "diffusers", (), "{}", "transformer_blocks"),
    ("blocks.0.attn_out.weight", "ComfyUI", COMFYUI, "{}", "blocks"),
    ("mixins.patch_embed.text_proj.weight", "original", SAT, "mixins.{}", "transformer.layers"),
)
_VAES = (
    ("decoder.mid_block.resnets.0.norm1.conv_y.conv.weight", "diffusers", (), "down_blocks", "resnets"),
    ("decoder.mid.block_1.norm1.conv_y.conv.weight", "original", SAT_VAE, "down", "block"),
)


def recognise(shapes: Shapes, describe: Describe) -> Recognised | str:
    for marker, layout, rules, stem, blocks in _TRANSFORMERS:
        stripped = without_prefix(shapes, marker)
        if stripped is not None and stem.format("patch_embed.text_proj.weight") in stripped[1]:
            return _transformer(*stripped, layout, rules, stem, blocks, describe)
    for marker, layout, rules, levels, resnets in _VAES:
        stripped = without_prefix(shapes, marker)
        if stripped is not None:
            return _vae(*stripped, layout, rules, levels, resnets, describe)
    return "'patch_embed.text_proj.weight' with 'transformer_blocks' is missing"


def _transformer(
    prefix: str,
    inner: Shapes,
    layout: str,
    rules: tuple[Rule, ...],
    stem: str,
    blocks: str,
    describe: Describe,
) -> Recognised | str:
    patch, text = inner[stem.format("patch_embed.proj.weight")], inner[stem.format("patch_embed.text_proj.weight")]
    width, is_new = patch[0], len(patch) == 2
    inputs = patch[1] // 8 if is_new else patch[1]
    outputs = _first(inner, _LAST)[0] // (8 if is_new else 4)
    if inputs not in (outputs, 2 * outputs):
        raise FamilyError(
            f"This is a CogVideoX-Fun model (control or inpainting): it takes {inputs} channels. Not supported; use "
            "CogVideoX 2B, 5B, 5B I2V, 1.5 5B or 1.5 5B I2V."
        )
    # Rotary and sin-cos models have the same weights; only the published widths distinguish them.
    if width not in (1920, 3072):
        return f"the transformer is {width} wide; published are 1920 (2B) and 3072 (5B)"
    is_rotary, is_learned = width == 3072, width == 3072 and inputs > outputs and not is_new
    positions = "mixins.pos_embed.pos_embedding" if layout == "original" else "patch_embed.pos_embedding"
    if is_learned and inner.get(positions, ()) != (1, _LEARNED, width):
        return f"'{positions}' of shape [1, 17776, {width}] is missing"
    if not is_learned:  # SAT stores sin-cos positions, which the module computes itself
        rules = (rename("^" + positions), *rules)
    head, columns, rows, frames = _first(inner, _HEAD)[0], *((300, 300, 81) if is_new else (90, 60, 49))
    config = {
        "num_attention_heads": width // head,
        "attention_head_dim": head,
        "in_channels": inputs,
        "out_channels": outputs,
        "time_embed_dim": _first(inner, _TIME)[0],
        "ofs_embed_dim": next((inner[n][0] for n in _OFFSET if n in inner), None),
        "text_embed_dim": text[1],
        "num_layers": layers(inner, blocks),
        "sample_width": columns,
        "sample_height": rows,
        "sample_frames": frames,
        "patch_size": 2,
        "patch_size_t": 2 if is_new else None,
        "patch_bias": not is_new,
        "max_text_seq_length": 226,
        "use_rotary_positional_embeddings": is_rotary,
        "use_learned_positional_embeddings": is_learned,
    }
    variant = describe(config, 0.7 if is_rotary else 1.15258426, is_new and inputs > outputs)
    return Recognised("transformer", layout, "CogVideoXTransformer3DModel", config, variant, rules, prefix)


def _first(inner: Shapes, names: Sequence[str]) -> tuple[int, ...]:
    """Shape of the tensor that has one of these names, each of another layout."""
    return next(inner[name] for name in names if name in inner)


def tensors(variant: Variant, config: Mapping[str, Any]) -> Shapes:
    """See `Recognition.tensors`."""
    head, time, offset = config["attention_head_dim"], config["time_embed_dim"], config["ofs_embed_dim"]
    width, patch, network = config["num_attention_heads"] * head, config["patch_size"], Tensors()
    numbers = patch**2 * (config["patch_size_t"] or 1)
    if config["patch_size_t"]:
        network.linear("patch_embed.proj", width, config["in_channels"] * numbers)
    else:
        network.linear("patch_embed.proj", width, config["in_channels"], patch, patch)
    network.linear("patch_embed.text_proj", width, config["text_embed_dim"])
    if config["use_learned_positional_embeddings"]:
        network["patch_embed.pos_embedding"] = (1, _LEARNED, width)
    network.linear("time_embedding.linear_1", time, width)
    network.linear("time_embedding.linear_2", time, time)
    if offset:
        network.embedder("ofs_embedding", offset, offset)
    for n in range(config["num_layers"]):
        block = f"transformer_blocks.{n}"
        for norm in ("norm1", "norm2"):
            network.linear(f"{block}.{norm}.linear", 6 * width, time)
            network.norm(f"{block}.{norm}.norm", width)
        network.linears(f"{block}.attn1", PROJECTIONS, width, width)
        network.norms(f"{block}.attn1", ("norm_q", "norm_k"), head, bias=True)
        network.linear(f"{block}.ff.net.0.proj", 4 * width, width)
        network.linear(f"{block}.ff.net.2", width, 4 * width)
    network.norm("norm_final", width)
    network.norm("norm_out.norm", width)
    network.linear("norm_out.linear", 2 * width, time)
    network.linear("proj_out", config["out_channels"] * numbers, width)
    return network


# Number of learned positions of 5B I2V: the prompt's 226 tokens, and 13 latent frames of 30 x 45 patches.
_LEARNED = 226 + 13 * 30 * 45
_TIME = ("time_embedding.linear_1.weight", "time_embedding_linear_1.weight", "time_embed.0.weight")
_LAST = ("proj_out.weight", "mixins.final_layer.linear.weight")
_OFFSET = ("ofs_embedding.linear_1.weight", "ofs_embedding_linear_1.weight", "ofs_embed.0.weight")
_HEAD = (
    "transformer_blocks.0.attn1.norm_q.weight",
    "blocks.0.norm_q.weight",
    "mixins.adaln_layer.query_layernorm_list.0.weight",
)


def _vae(
    prefix: str, inner: Shapes, layout: str, rules: tuple[Rule, ...], levels: str, resnets: str, describe: Describe
) -> Recognised:
    count = layers(inner, f"encoder.{levels}")
    config = {
        "block_out_channels": [inner[f"encoder.{levels}.{n}.{resnets}.0.conv1.conv.weight"][0] for n in range(count)],
        "down_block_types": ["CogVideoXDownBlock3D"] * count,
        "up_block_types": ["CogVideoXUpBlock3D"] * count,
        "layers_per_block": layers(inner, f"encoder.{levels}.0.{resnets}"),
        "latent_channels": inner["decoder.conv_in.conv.weight"][1],
    }
    # All variants share this VAE and its latents, so any variant's description serves here.
    variant = describe(_ANY, 0.7, False)
    return Recognised("vae", layout, "AutoencoderKLCogVideoX", config, variant, rules, prefix)


_ANY = {
    "num_attention_heads": 48, "attention_head_dim": 64, "in_channels": 16, "out_channels": 16, "patch_size": 2,
    "patch_size_t": None, "sample_width": 90, "sample_height": 60, "sample_frames": 49, "ofs_embed_dim": None,
    "text_embed_dim": 4096, "max_text_seq_length": 226, "use_rotary_positional_embeddings": True,
    "use_learned_positional_embeddings": False,
}  # fmt: skip
