"""A sampling run on the embedded host: the same arithmetic as the host's guider, without the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...sampling import Schedule, solve
from .objects import Model, free_memory
from .settings import check_interrupt


def sample(
    model: Model,
    positive: list[list[Any]],
    negative: list[list[Any]],
    latent: dict[str, Any],
    *,
    schedule: Schedule,
    cfg: float,
    seed: int,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Denoise a LATENT.

    Args:
        latent: {"samples" [B, C, T, h, w] or [B, C, h, w], optional "noise_mask"}; mask 1 is made anew, 0 is kept.
        cfg: guidance scale; 1 runs the positive prompt alone.
        on_step: called with the number of steps done.
    Returns:
        VAE latents [B, C, T, h, w] float32 on the CPU.
    """
    variant = model.part.variant
    samples = _as_video(latent["samples"].float(), variant.geometry.channels)
    # Noise comes from the CPU's generator, so that a seed means the same on every machine and in ComfyUI.
    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(seed)).to(model.device)
    start = (variant.normalise(samples) if bool(samples.any()) else samples).to(model.device)
    # The negative first, as the host orders them.
    contexts = [positive[0][0]] if cfg == 1 else [negative[0][0], positive[0][0]]
    contexts = [c.to(model.device).expand(len(samples), -1, -1) for c in contexts]
    needed = 1.5 * variant.sample_memory((2 * len(samples), *samples.shape[1:]), model.dtype.itemsize)
    together = len({c.shape for c in contexts}) == 1 and needed < free_memory(model.device)
    count, joined = len(contexts), torch.cat(contexts) if together else contexts[0]
    mask = latent.get("noise_mask")
    mask = None if mask is None else _latent_mask(mask, samples).to(model.device)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        check_interrupt()
        if mask is not None:
            s = sigma.view(-1, 1, 1, 1, 1)
            x = x * mask + (s * noise + (1 - s) * start) * (1 - mask)
        if together:
            parts = model.denoised(torch.cat([x] * count), sigma.repeat(count), joined).chunk(count)
        else:
            parts = [model.denoised(x, sigma, context) for context in contexts]
        clean = parts[0] if len(parts) == 1 else parts[0] + (parts[1] - parts[0]) * cfg
        return clean if mask is None else clean * mask + start * (1 - mask)

    first = schedule.sigmas[0].to(noise)
    x = noise if schedule.starts_from_noise else first * noise + (1 - first) * start
    with torch.inference_mode():
        x = solve(denoise, x, schedule, on_step=lambda step, clean, _: on_step(step + 1) if on_step else None)
        if mask is not None:
            x = x * mask + start * (1 - mask)  # solvers of higher order leave a trace of their history there
    return variant.denormalise(x).cpu()


def _as_video(samples: Tensor, channels: int) -> Tensor:
    """A latent as the model takes it: a picture is one frame, an empty latent gets the model's channels."""
    if samples.ndim == 4:
        samples = samples.unsqueeze(2)
    if samples.shape[1] != channels and not samples.any():
        samples = samples.new_zeros(len(samples), channels, *samples.shape[2:])
    return samples


def _latent_mask(mask: Tensor, samples: Tensor) -> Tensor:
    """A mask [..., H, W], one for all frames or one per frame, or 5-D -> [1 or B, 1 or C, T, h, w], as in the host."""
    if mask.ndim < 5:
        mask = mask.reshape(1, 1, -1, *mask.shape[-2:])  # images of a batch are frames of the video
    return functional.interpolate(mask.float(), size=samples.shape[2:], mode="trilinear")
