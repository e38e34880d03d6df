"""A sampling run on the embedded host: the same arithmetic as the host's guider, without the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...base.stg import attentions, values_only
from ...sampling import Schedule, Steps, rescaled, solve, starred, with_stg
from ...sampling.caches import CachedStage, CacheRun, Part
from .machine import free_memory
from .model import Model
from .place import check_interrupt


def sample(
    model: Model,
    positive: list[list[Any]],
    negative: list[list[Any]],
    latent: dict[str, Any],
    *,
    schedule: Schedule,
    cfg: float | Sequence[float],
    seed: int,
    on_step: Callable[[int], None] | None = None,
    low_noise: tuple[Model, float] | None = None,
    cfg_rescale: float = 0.0,
    step_cache: CacheRun | None = None,
    guidance: Steps | None = None,
    unpictured: tuple[list[list[Any]], Tensor] | None = None,
) -> Tensor:
    """Denoise a LATENT.

    Args:
        latent: {"samples" [B, C, T, h, w] or [B, C, h, w], optional "noise_mask"}; mask 1 is made anew, 0 is kept.
        cfg: guidance scale, one for all steps or one for each; 1 runs the positive prompt alone.
        on_step: called with the number of steps done.
        low_noise: (MODEL, cfg) that takes over below the variant's boundary.
        cfg_rescale: how much of the spread that guidance adds is taken back, 0 to 1.
        step_cache: a fresh run of a step cache, in place of the MODEL's own.
        guidance: spatio-temporal guidance, with one `Stg` for each step.
        unpictured: (the negative CONDITIONING without its pictures, [steps, T or 1] scale of what they change): what
            pictures change is the difference between negative and this one, and is added (scale - 1) times.
    Returns:
        VAE latents [B, C, T, h, w] float32 on the CPU.
    """
    variant = model.part.variant
    samples = _as_video(latent["samples"].float(), variant.geometry.channels)
    mask = latent.get("noise_mask")
    mask = None if mask is None else variant.geometry.pad_front(_latent_mask(mask, samples)).to(model.device)
    padding = variant.geometry.front_padding(samples.shape[2])
    samples = variant.geometry.pad_front(samples)
    # Noise comes from the CPU's generator, so that a seed means the same on every machine and in ComfyUI.
    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(seed)).to(model.device)
    start = (variant.normalise(samples) if bool(samples.any()) else samples).to(model.device)
    # The negative first, as the host orders them.
    prompts = [negative, positive] + ([unpictured[0]] if unpictured else [])
    entries = [{"cross_attn": c[0][0], **c[0][1], "denoise_mask": mask} for c in prompts]
    labels = [Part(n, name) for n, name in enumerate(("negative", "positive", "unpictured", "weakened"))]
    steps = iter(guidance.stg if guidance else ())

    def denoiser(
        model: Model, cfg: float | Sequence[float], stage: CachedStage | None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        scales = iter([cfg] * schedule.steps if isinstance(cfg, int | float) else cfg)
        pictures = iter(unpictured[1].to(model.device) if unpictured else torch.ones(schedule.steps, 1))
        conditions = [model.conditions(entry, tuple(samples.shape)) for entry in entries]
        together = _can_batch(conditions) and _fits(model, len(conditions) * len(samples), samples)
        predicts, transformer = schedule.prediction, model.part.transformer
        for stg in guidance.stg if guidance else ():
            attentions(transformer, variant.family.network.blocks, stg.blocks)  # says at once which block there is not

        def predicted(x: Tensor, sigma: Tensor, given: dict[str, Tensor], parts: list[Part]) -> Tensor:
            with stage.call(parts, sigma[0].item(), x) if stage else nullcontext():
                return model.denoised(x, sigma, given)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            check_interrupt()
            scale, picture, stg = next(scales), next(pictures), next(steps, None)
            guides = bool((picture != 1).any())
            if mask is not None:
                kept = start if variant.keeps_clean else predicts.noised(start, noise, sigma)
                x = x * mask + kept * (1 - mask)
            chosen = [0, 1, 2] if guides else [1] if scale == 1 else [0, 1]
            used = [conditions[n] for n in chosen]
            if together and len(used) > 1:
                joined = {k: torch.cat([_rows(c[k], len(x)) for c in used]) for k in used[0]}
                count = len(used)
                made = predicted(torch.cat([x] * count), sigma.repeat(count), joined, [labels[n] for n in chosen])
                parts = list(made.chunk(count))
            else:
                rows = [{k: _rows(v, len(x)) for k, v in c.items()} for c in used]
                parts = [predicted(x, sigma, c, [labels[n]]) for c, n in zip(rows, chosen, strict=True)]
            if guides:
                pictured = (picture.view(1, 1, -1, 1, 1) - 1) * (parts[0] - parts[2])
                parts = [part + pictured for part in parts[:2]]
            if guidance and guidance.cfg_star and len(parts) == 2:
                parts[0] = starred(parts[0], parts[1], x, sigma, predicts)
            clean = parts[0] if len(parts) == 1 else parts[0] + (parts[1] - parts[0]) * scale
            if stg:

                def weakened() -> Tensor:
                    given = {k: _rows(v, len(x)) for k, v in conditions[1].items()}
                    with values_only(transformer, variant.family.network.blocks, stg.blocks):
                        return predicted(x, sigma, given, labels[3:])

                clean = with_stg(clean, parts[-1], weakened, x, sigma, predicts, stg)
            if cfg_rescale and scale != 1:
                clean = rescaled(clean, parts[1], x, sigma, predicts, cfg_rescale)
            return clean if mask is None else clean * mask + start * (1 - mask)

        return denoise

    predicts, first = schedule.prediction, schedule.sigmas[:1].to(noise)
    x = noise if schedule.starts_from_noise else predicts.model_input(predicts.noised(start, noise, first), first)
    stages = [(model, cfg, schedule)]
    if low_noise is not None:
        high, low = schedule.split(variant.boundary)
        stages = [(model, cfg, high), (*low_noise, low)]
    done = 0
    with torch.inference_mode():
        for n, (one, scale, part) in enumerate(stages):

            def report(step: int, clean: Tensor, x: Tensor, before: int = done) -> None:
                if on_step:
                    on_step(before + step + 1)

            if part.steps:
                # A MODEL's own cache knows of one expert only.
                cache, expert = (step_cache, n) if step_cache else (one.step_cache and one.step_cache(), 0)
                attached = cache.attached(one.part.transformer, part.sigmas, expert) if cache else nullcontext()
                with one.changed(), attached as stage:
                    x = solve(denoiser(one, scale, stage), x, part, on_step=report)
            done += part.steps
        if mask is not None:
            # Solvers of higher order leave a trace of their history where the mask keeps the latent. Where it lets a
            # part of a change through, each step has blended already.
            x = torch.where(mask > 0, x, start)
    return variant.denormalise(x[:, :, padding:]).cpu()


def _rows(value: Tensor, count: int) -> Tensor:
    """A condition for every latent of the batch."""
    return value.expand(count, *value.shape[1:]) if len(value) == 1 else value


def _can_batch(conditions: list[dict[str, Tensor]]) -> bool:
    """Whether the prompts' conditions have the same names and shapes, so that one call can take them all."""
    first, *others = [{k: v.shape[1:] for k, v in c.items()} for c in conditions]
    return all(first == other for other in others)


def _fits(model: Model, rows: int, samples: Tensor) -> bool:
    needed = 1.5 * model.part.variant.sample_memory((rows, *samples.shape[1:]), model.dtype.itemsize)
    return needed < free_memory(model.device)


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
