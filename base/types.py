"""Mappings that pass between the rooms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Tensor name -> shape, from a safetensors header.
Shapes = Mapping[str, tuple[int, ...]]


# One conditioning with everything the host knows of the run: "cross_attn" is the prompt's embedding [B, L, D]; the
# other keys come from the CONDITIONING's dictionary ("attention_mask", "pooled_output", "guidance",
# "concat_latent_image", ...), and "denoise_mask" [B, 1, T, h, w] from the LATENT's mask, where it has one (1 is
# denoised, 0 is kept).
Entry = Mapping[str, Any]
