"""CLIP_VISION: what CLIPVisionEncode calls, around a model folder's image encoder."""

from __future__ import annotations

import comfy.clip_vision
import comfy.model_management as mm
import comfy.model_patcher
from torch import Tensor, nn

from ..pixels import clip_pixels
from .ops import move_orphans_on_load, switch_to_casting


class Holder(nn.Module):
    """The host sets `device` on what it manages, which transformers' modules refuse."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder


class ClipVision:
    """The host's ClipVisionModel, with transformers' module in place of the host's own."""

    def __init__(self, encoder: nn.Module):
        self.load_device = mm.text_encoder_device()
        self.image_size = encoder.config.image_size  # pyright: ignore[reportAttributeAccessIssue]
        self.model = Holder(switch_to_casting(encoder))
        self.patcher = comfy.model_patcher.ModelPatcher(
            self.model, load_device=self.load_device, offload_device=mm.text_encoder_offload_device()
        )
        move_orphans_on_load(self.patcher)

    def encode_image(self, image: Tensor, crop: bool = True) -> comfy.clip_vision.Output:
        """IMAGE [B, H, W, 3] in 0..1 -> `penultimate_hidden_states` and `last_hidden_state` [B, n, D]."""
        mm.load_model_gpu(self.patcher)
        pixels = clip_pixels(image.to(self.load_device).float(), self.image_size, crop)
        found = self.model.encoder(pixel_values=pixels, output_hidden_states=True)
        output, device = comfy.clip_vision.Output(), mm.intermediate_device()
        output["penultimate_hidden_states"] = found.hidden_states[-2].float().to(device)
        output["last_hidden_state"] = found.hidden_states[-1].float().to(device)
        return output


def clip_vision(encoder: nn.Module) -> ClipVision:
    """A CLIP_VISION for core's CLIPVisionEncode."""
    return ClipVision(encoder)
