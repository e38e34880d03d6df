"""CogVideoX: configs of published files, and the makers' names of their tensors."""

from __future__ import annotations

import re

import torch

BASE = {
    "num_attention_heads": 30, "attention_head_dim": 64, "in_channels": 16, "out_channels": 16, "num_layers": 30,
    "time_embed_dim": 512, "text_embed_dim": 4096, "max_text_seq_length": 226, "sample_width": 90,
    "sample_height": 60, "sample_frames": 49, "patch_size": 2, "patch_size_t": None, "ofs_embed_dim": None,
    "use_rotary_positional_embeddings": False, "use_learned_positional_embeddings": False,
}  # fmt: skip
FIVE = {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True}
NEW = {**FIVE, "patch_size_t": 2, "sample_width": 300, "sample_height": 300, "sample_frames": 81}
# Name -> (transformer config, parameters in billions).
PUBLISHED = {
    "2B": (BASE, 1.694),
    "5B": (BASE | FIVE, 5.570),
    "5B I2V": (BASE | FIVE | {"in_channels": 32, "use_learned_positional_embeddings": True}, 5.570 + 0.055),
    "1.5 5B": (BASE | NEW | {"patch_bias": False}, 5.570),
    "1.5 5B I2V": (BASE | NEW | {"patch_bias": False, "in_channels": 32, "ofs_embed_dim": 512}, 5.571),
}


def original(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """diffusers' names and tensors -> SAT's (sat/dit_video_concat.py), written from its modules, not from our rules."""
    made, blocks = {}, {}
    names = {
        "norm_final": "transformer.final_layernorm", "patch_embed": "mixins.patch_embed",
        "norm_out.norm": "mixins.final_layer.norm_final", "norm_out.linear": "mixins.final_layer.adaLN_modulation.1",
        "proj_out": "mixins.final_layer.linear", "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2", "ofs_embedding.linear_1": "ofs_embed.0",
        "ofs_embedding.linear_2": "ofs_embed.2", "patch_embed.pos_embedding": "mixins.pos_embed.pos_embedding",
    }  # fmt: skip
    inner = {
        "attn1.to_out.0": "attention.dense", "norm1.norm": "input_layernorm", "norm2.norm": "post_attn1_layernorm",
        "ff.net.0.proj": "mlp.dense_h_to_4h", "ff.net.2": "mlp.dense_4h_to_h",
    }  # fmt: skip
    for name, tensor in state.items():
        block = re.fullmatch(r"transformer_blocks\.(\d+)\.(.+)\.(weight|bias)", name)
        if block:
            blocks.setdefault((block[1], block[3]), {})[block[2]] = tensor
            continue
        stem = max((n for n in names if name == n or name.startswith(n + ".")), key=len)
        made[names[stem] + name[len(stem) :]] = tensor
    for (n, leaf), parts in blocks.items():
        made |= {f"transformer.layers.{n}.{new}.{leaf}": parts[old] for old, new in inner.items()}
        made[f"transformer.layers.{n}.attention.query_key_value.{leaf}"] = torch.cat(
            [parts[f"attn1.to_{k}"] for k in "qkv"]
        )
        for kind, k in (("query", "q"), ("key", "k")):
            made[f"mixins.adaln_layer.{kind}_layernorm_list.{n}.{leaf}"] = parts[f"attn1.norm_{k}"]
        # shift, scale, gate of attention and MLP for the video, then the same six for the text
        first, second = parts["norm1.linear"].chunk(2), parts["norm2.linear"].chunk(2)
        made[f"mixins.adaln_layer.adaLN_modulations.{n}.1.{leaf}"] = torch.cat(
            [first[0], second[0], first[1], second[1]]
        )
    return {f"model.diffusion_model.{name}": tensor for name, tensor in made.items()}


def comfyui(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """diffusers' names -> those of ComfyUI's own class (comfy/ldm/cogvideo/model.py)."""
    made = {}
    for name, tensor in state.items():
        for old, new in (
            ("transformer_blocks.", "blocks."), (".attn1.to_out.0.", ".attn_out."), (".ff.net.0.proj.", ".ff_proj."),
            (".ff.net.2.", ".ff_out."), (".attn1.to_", "."), (".attn1.", "."), ("embedding.linear", "embedding_linear"),
        ):  # fmt: skip
            name = name.replace(old, new)
        made[name] = tensor
    return made


def original_vae(name: str) -> str:
    """diffusers' name -> SAT's (sat/vae_modules/cp_enc_dec.py)."""
    name = re.sub(r"decoder\.up_blocks\.(\d)", lambda m: f"decoder.up.{3 - int(m[1])}", name)
    for old, new in (
        ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"), ("down_blocks", "down"),
        ("resnets", "block"), ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"),
        ("conv_shortcut", "nin_shortcut"),
    ):  # fmt: skip
        name = name.replace(old, new)
    return name
