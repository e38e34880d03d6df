"""Tiny random Wan weights, once as diffusers modules and once under the names of Wan's own repositories.

ComfyUI's loaders read the makers' names, so both sides can be given the very same weights.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

_TRANSFORMER = [
    (r"^condition_embedder\.time_embedder\.linear_1\.", "time_embedding.0."),
    (r"^condition_embedder\.time_embedder\.linear_2\.", "time_embedding.2."),
    (r"^condition_embedder\.text_embedder\.linear_1\.", "text_embedding.0."),
    (r"^condition_embedder\.text_embedder\.linear_2\.", "text_embedding.2."),
    (r"^condition_embedder\.time_proj\.", "time_projection.1."),
    (r"^scale_shift_table$", "head.modulation"),
    (r"^proj_out\.", "head.head."),
    (r"\.scale_shift_table$", ".modulation"),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_(q|k|v)\.", r".\1."),
    (r"\.to_out\.0\.", ".o."),
    (r"\.norm2\.", ".norm3."),
    (r"\.ffn\.net\.0\.proj\.", ".ffn.0."),
    (r"\.ffn\.net\.2\.", ".ffn.2."),
]
_VAE = [
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
    (r"\.conv_in\.", ".conv1."),
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.norm_out\.", ".head.0."),
    (r"\.conv_out\.", ".head.2."),
    (r"^encoder\.down_blocks\.", "encoder.downsamples."),
    (r"^decoder\.up_blocks\.(\d+)\.resnets\.(\d+)\.", lambda m: f"decoder.upsamples.{int(m[1]) * 4 + int(m[2])}."),
    (r"^decoder\.up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f"decoder.upsamples.{int(m[1]) * 4 + 3}."),
    (r"(middle\.[02]|samples\.\d+)\.norm1\.", r"\1.residual.0."),
    (r"(middle\.[02]|samples\.\d+)\.conv1\.", r"\1.residual.2."),
    (r"(middle\.[02]|samples\.\d+)\.norm2\.", r"\1.residual.3."),
    (r"(middle\.[02]|samples\.\d+)\.conv2\.", r"\1.residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
]


def _renamed(weights: dict[str, Tensor], rules: list[tuple[str, Any]]) -> dict[str, Tensor]:
    renamed = {}
    for name, weight in weights.items():
        for pattern, target in rules:
            name = re.sub(pattern, target, name)
        renamed[name] = weight.contiguous()
    assert len(renamed) == len(weights)
    return renamed


def renamed_transformer(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a diffusers module under the makers' names."""
    return _renamed(weights, _TRANSFORMER)


def transformer(channels: int = 16, layers: int = 2, into: int | None = None) -> tuple[Any, dict[str, Tensor]]:
    """(diffusers module, the same weights under the makers' names). ComfyUI's heads are 128 wide, its text 4096."""
    from diffusers import WanTransformer3DModel

    torch.manual_seed(0)
    module = WanTransformer3DModel(
        num_attention_heads=1, attention_head_dim=128, in_channels=into or channels, out_channels=channels,
        text_dim=4096, freq_dim=256, ffn_dim=64, num_layers=layers,
    )  # fmt: skip
    module.eval().requires_grad_(False)
    return module, renamed_transformer(module.state_dict())


def vae() -> tuple[Any, dict[str, Tensor]]:
    """(diffusers module, the same weights under the makers' names). Core takes only the published width, 96."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(1)
    module = AutoencoderKLWan(base_dim=96, z_dim=16).eval().requires_grad_(False)
    # No pixel reaches black or white: core joins tiles before it clips them, diffusers' decoder clips each by itself.
    module.decoder.conv_out.weight.mul_(0.1)
    return module, _renamed(module.state_dict(), _VAE)
