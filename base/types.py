"""Mappings that pass between the rooms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Tensor name -> shape: what a safetensors header says of a file.
Shapes = Mapping[str, tuple[int, ...]]


# One conditioning with everything the host knows of the run: "cross_attn" is the prompt's embedding [B, L, D]; further
# keys are those of the CONDITIONING's dictionary ("attention_mask", "pooled_output", "guidance", "concat_latent_image",
# ...) and "denoise_mask" [B, 1, T, h, w] where the LATENT has a mask (1 is made anew).
Entry = Mapping[str, Any]
