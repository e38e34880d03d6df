"""Latent upscalers, under the host's own care for memory."""

from __future__ import annotations

import math

import comfy.model_management as mm
import comfy.model_patcher
import comfy.sd
import torch
from torch import Tensor, nn

from ..upscale import no_statistics
from .ops import move_orphans_on_load

# Bytes for each number of the latent, as core's own upsampler node asks for.
_BYTES = 3000.0


class Held(nn.Module):
    """A network whose class the host's patcher cannot write its own attributes to: diffusers' `device` is fixed."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network


@torch.inference_mode()
def upscale(vae: comfy.sd.VAE, network: nn.Module, latent: Tensor) -> Tensor:
    statistics = getattr(vae.first_stage_model, "per_channel_statistics", None)
    if statistics is None:
        raise no_statistics()
    device = mm.get_torch_device()
    held, offload = Held(network), mm.unet_offload_device()
    patcher = comfy.model_patcher.ModelPatcher(held, load_device=device, offload_device=offload)
    move_orphans_on_load(patcher)
    mm.load_models_gpu([patcher], memory_required=math.prod(latent.shape) * _BYTES, force_full_load=True)
    numbers = statistics.un_normalize(latent.to(device, next(network.parameters()).dtype))
    return statistics.normalize(network(numbers)).float().to(mm.intermediate_device())
