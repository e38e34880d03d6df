"""CLIP_VISION of the embedded host."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..leaves import switch_leaves
from ..pixels import clip_pixels
from . import machine
from .ops import LEAVES


@dataclass(frozen=True)
class ClipVision:
    encoder: nn.Module
    device: torch.device

    @torch.inference_mode()
    def encode_image(self, image: Tensor, crop: bool = True) -> SimpleNamespace:
        """IMAGE [B, H, W, 3] in 0..1 -> with `penultimate_hidden_states` and `last_hidden_state` [B, n, D]."""
        config: Any = self.encoder.config
        pixels = clip_pixels(image.to(self.device).float(), config.image_size, crop)
        states = self.encoder(pixel_values=pixels, output_hidden_states=True).hidden_states
        return SimpleNamespace(
            penultimate_hidden_states=states[-2].float().cpu(), last_hidden_state=states[-1].float().cpu()
        )


def clip_vision(encoder: nn.Module) -> ClipVision:
    """A CLIP_VISION that computes in fp32, whatever its weights are stored as, as ComfyUI's does."""
    for part in encoder.modules():
        if hasattr(part, "patch_embedding"):
            part.float()  # the library rounds a picture, and all behind it, to the dtype of these few weights
    return ClipVision(switch_leaves(encoder, LEAVES).to(machine.device()), machine.device())
