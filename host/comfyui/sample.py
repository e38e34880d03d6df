"""A sampling run through the host's guider, with the steps of a diffusers scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management as mm
import comfy.sample
import comfy.samplers
import latent_preview
import torch
from torch import Tensor

from ...sampling import Schedule, solve


def sample(
    model: Any,
    positive: list[list[Any]],
    negative: list[list[Any]],
    latent: dict[str, Any],
    *,
    schedule: Schedule,
    cfg: float,
    seed: int,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Denoise a LATENT with the host's conditioning, masks, hooks, wrappers, previews and interrupt.

    Args:
        latent: {"samples" [B, C, T, h, w], optional "noise_mask", "batch_index"}; mask 1 is made anew, 0 is kept.
        cfg: guidance scale; 1 runs the positive prompt alone.
        on_step: called with the number of steps done, before the host's own preview and progress.
    Returns:
        VAE latents [B, C, T, h, w] float32.
    """
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    noise = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))
    preview = _moving(latent_preview.prepare_callback(model, schedule.steps))

    def walk(
        inner: Any, x: Tensor, sigmas: Tensor, *, extra_args: dict[str, Any], callback: Any, disable: Any
    ) -> Tensor:
        def report(step: int, clean: Tensor, x: Tensor) -> None:
            mm.throw_exception_if_processing_interrupted()
            if on_step:
                on_step(step + 1)
            if callback:
                callback({"i": step, "denoised": clean, "x": x, "sigma": sigmas[step]})

        # Reference pipelines start from unscaled noise; the host has scaled it by the first sigma.
        start = inner.noise if schedule.starts_from_noise else x
        x = solve(lambda x, sigma: inner(x, sigma, **extra_args), start, schedule, on_step=report)
        mask = extra_args.get("denoise_mask")
        # Solvers of higher order leave a trace of their history where the mask keeps the latent.
        return x if mask is None else x * mask + inner.latent_image * (1 - mask)

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    with torch.inference_mode():
        result = guider.sample(
            noise,
            samples,
            comfy.samplers.KSAMPLER(walk),
            schedule.sigmas,
            denoise_mask=latent.get("noise_mask"),
            callback=preview,
            disable_pbar=True,
            seed=seed,
        )
    return result.to(mm.intermediate_device())


def _moving(show: Callable[[int, Tensor, Tensor, int], None]) -> Callable[[int, Tensor, Tensor, int], None]:
    """Have the host's preview, which is one still picture of a clip's first frame, show the next frame at each step.

    The clip is turned round, not cut: previews of other packs that show all of it still find all of it.
    """

    def turned(step: int, clean: Tensor, x: Tensor, total: int) -> None:
        show(step, clean.roll(-step, dims=2), x, total)

    return turned
