"""Wan: configs of published files, and the makers' names of their tensors."""

from __future__ import annotations

import re

from opent2v.loaders.weights import build

BASE = {"attention_head_dim": 128, "text_dim": 4096, "freq_dim": 256, "patch_size": [1, 2, 2], "out_channels": 16}
SMALL = BASE | {"num_attention_heads": 12, "num_layers": 30, "ffn_dim": 8960, "in_channels": 16}
LARGE = BASE | {"num_attention_heads": 40, "num_layers": 40, "ffn_dim": 13824, "in_channels": 16}
PICTURE = LARGE | {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}
FIVE = BASE | {"num_attention_heads": 24, "num_layers": 30, "ffn_dim": 14336, "in_channels": 48, "out_channels": 48}


def original(name: str) -> str:
    """diffusers' name -> the makers' (wan/modules/model.py), written from their module, not from our rules."""
    outer = {
        "condition_embedder.time_embedder.linear_1": "time_embedding.0",
        "condition_embedder.time_embedder.linear_2": "time_embedding.2",
        "condition_embedder.text_embedder.linear_1": "text_embedding.0",
        "condition_embedder.text_embedder.linear_2": "text_embedding.2",
        "condition_embedder.time_proj": "time_projection.1",
        "condition_embedder.image_embedder.norm1": "img_emb.proj.0",
        "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
        "condition_embedder.image_embedder.ff.net.2": "img_emb.proj.3",
        "condition_embedder.image_embedder.norm2": "img_emb.proj.4",
        "condition_embedder.image_embedder.pos_embed": "img_emb.emb_pos",
        "proj_out": "head.head",
    }
    if name == "scale_shift_table":
        return "head.modulation"
    stem, _, leaf = name.rpartition(".")
    if name in outer or stem in outer:
        return outer.get(name) or f"{outer[stem]}.{leaf}"
    if not name.startswith("blocks."):
        return name
    _, n, inner = name.split(".", 2)
    for old, new in (
        ("scale_shift_table", "modulation"), ("norm2.", "norm3."), ("ffn.net.0.proj", "ffn.0"), ("ffn.net.2", "ffn.2"),
        ("attn1.", "self_attn."), ("attn2.", "cross_attn."), (".norm_added_k.", ".norm_k_img."), (".to_q.", ".q."),
        (".to_k.", ".k."), (".to_v.", ".v."), (".to_out.0.", ".o."), (".add_k_proj.", ".k_img."),
        (".add_v_proj.", ".v_img."),
    ):  # fmt: skip
        inner = inner.replace(old, new)
    return f"blocks.{n}.{inner}"


def original_vae(name: str, is_residual: bool) -> str:
    """diffusers' name -> the makers' (wan/modules/vae.py, vae2_2.py)."""
    name = re.sub(r"^quant_conv", "conv1", re.sub(r"^post_quant_conv", "conv2", name))
    for old, new in (
        (".conv_in.", ".conv1."), (".norm_out.", ".head.0."), (".conv_out.", ".head.2."),
        (".mid_block.resnets.0.", ".middle.0."), (".mid_block.resnets.1.", ".middle.2."),
        (".mid_block.attentions.0.", ".middle.1."),
    ):  # fmt: skip
        name = name.replace(old, new)
    if is_residual:
        name = re.sub(r"down_blocks\.(\d+)\.resnets", r"downsamples.\1.downsamples", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsampler", r"downsamples.\1.downsamples.2", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets", r"upsamples.\1.upsamples", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsampler", r"upsamples.\1.upsamples.3", name)
    else:
        name = name.replace("down_blocks", "downsamples")
        name = re.sub(r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"upsamples.{int(m[1]) * 4 + int(m[2])}", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"upsamples.{int(m[1]) * 4 + 3}", name)
    if re.search(r"samples|middle", name):
        for old, new in (("norm1", "residual.0"), ("conv1", "residual.2"), ("norm2", "residual.3"),
                         ("conv2", "residual.6"), ("conv_shortcut", "shortcut")):  # fmt: skip
            name = re.sub(rf"\.{old}\.", f".{new}.", name)
    return name


def meta_shapes(class_name: str, config: dict) -> dict[str, tuple[int, ...]]:
    key = class_name, repr(config)
    if key not in _shapes:
        module = build(class_name, config)
        _shapes[key] = {name: tuple(p.shape) for name, p in module.named_parameters()}
    return _shapes[key]


_shapes: dict = {}
TINY = {
    "num_attention_heads": 1, "attention_head_dim": 128, "text_dim": 16, "freq_dim": 16, "ffn_dim": 32, "num_layers": 2,
}  # fmt: skip


MEAN16, STD16 = [0.0] * 16, [1.0] * 16
VAE = {
    "base_dim": 96,
    "z_dim": 16,
    "latents_mean": MEAN16,
    "latents_std": STD16,
    "temperal_downsample": [False, True, True],
}
VAE_22 = VAE | {
    "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "latents_mean": MEAN16 * 3, "latents_std": STD16 * 3,
    "patch_size": 2, "is_residual": True, "scale_factor_spatial": 16, "scale_factor_temporal": 4,
}  # fmt: skip
TRANSFORMER = {
    "attention_head_dim": 128, "num_attention_heads": 12, "num_layers": 30, "ffn_dim": 8960, "in_channels": 16,
    "out_channels": 16, "text_dim": 4096, "patch_size": [1, 2, 2], "rope_max_seq_len": 1024, "image_dim": None,
}  # fmt: skip
TEXT = {"d_model": 4096}
SCHEDULER = {"_class_name": "UniPCMultistepScheduler", "flow_shift": 3.0}


def configs(transformer=None, vae=None, text=None, index=None, **further):
    return {
        "index": {"_class_name": "WanPipeline", **(index or {})},
        "transformer": TRANSFORMER | (transformer or {}),
        "vae": VAE | (vae or {}),
        "text_encoder": TEXT | (text or {}),
        "scheduler": SCHEDULER,
        **further,
    }


WAN_5B = {"num_attention_heads": 24, "ffn_dim": 14336, "in_channels": 48, "out_channels": 48}
