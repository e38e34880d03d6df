"""The sampling loop: a denoiser, noise and a schedule in; a clean latent out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .errors import SamplingError
from .schedule import Schedule

Denoise = Callable[[Tensor, Tensor, int], Tensor]


@torch.no_grad()
def solve(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    *,
    on_step: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Walk the schedule.

    Args:
        denoise: (x [B, C, T, H, W], sigma [B], step from 0), both tensors as the host counts them -> the clean latent
            it expects, same shape, guidance included.
        x: [B, C, T, H, W] float32, the noisy latent of the first step in the scheduler's own scale.
        on_step: called after each step with (step from 0, expected clean latent, x); may raise to interrupt.
    Returns:
        The latent after the last step, same shape, in the scheduler's own scale (at sigma 0 there is only one).
    Raises:
        SamplingError: not-a-number or infinite values, with the step and the likely causes.
    """
    predicts = schedule.prediction
    for step, t in enumerate(schedule.timesteps):
        # The model gets the same timestep as in the reference pipeline, where some schedulers round it to a whole
        # number. Its output is computed back with the same sigma, so the solver sees the model's own output.
        sigma = predicts.sigma(t.to(x.device)).to(x)
        if sigma <= 0:
            sigma = schedule.sigmas[step].to(x)
        outer = predicts.host_input(x, sigma)
        clean = denoise(outer, sigma.expand(x.shape[0]), step)
        _check_finite(clean, step, schedule.steps)
        x = schedule.advance(predicts.output(outer, clean, sigma), step, x)
        if on_step is not None:
            on_step(step, clean, x)
    _check_finite(x, schedule.steps - 1, schedule.steps)
    return x


def _check_finite(latent: Tensor, step: int, steps: int) -> None:
    if bool(torch.isfinite(latent).all()):
        return
    bad = 1 - torch.isfinite(latent).float().mean().item()
    raise SamplingError(
        f"Step {step + 1} of {steps}: {bad:.0%} of the latent is not a number or infinite, so the video would be "
        "black or noise. Likely causes: the model computes in fp16 and overflows (load it with dtype bf16 or fp32), "
        "a damaged model file or LoRA, or a cfg far above the model's own. Nothing was saved."
    )
