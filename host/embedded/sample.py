"""A sampling run on the embedded host: the same arithmetic as the host's guider, without the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...base.guidance import Conditioning, Pass, PassResults
from ...sampling import ExpertSteps, Prediction, Run, solve
from ...sampling.caches import CachedStage, CacheRun, Part
from .machine import free_memory
from .model import Model
from .place import check_interrupt


def sample(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: dict[str, Any],
    run: Run,
    *,
    second_expert: Model | None = None,
    step_cache: CacheRun | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    variant = model.part.variant
    samples = _as_video(latent["samples"].float(), variant.geometry.channels)
    mask = latent.get("noise_mask")
    mask = None if mask is None else variant.geometry.pad_front(_latent_mask(mask, samples)).to(model.device)
    padding = variant.geometry.front_padding(samples.shape[2])
    samples = variant.geometry.pad_front(samples)
    # Noise comes from the CPU's generator, so that a seed means the same on every machine and in ComfyUI.
    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(run.seed)).to(model.device)
    start = (variant.normalise(samples) if bool(samples.any()) else samples).to(model.device)
    conditionings = run.conditionings(positive, negative)
    entries = {name: {"cross_attn": c[0][0], **c[0][1], "denoise_mask": mask} for name, c in conditionings.items()}
    schedule = run.schedule
    predicts, first = schedule.prediction, schedule.sigmas[:1].to(noise)
    x = noise if schedule.starts_from_noise else predicts.model_input(predicts.noised(start, noise, first), first)
    experts = [(one, part) for one, part in zip((model, second_expert), run.parts, strict=False) if one and part.steps]
    for one, part in experts:
        _check_changes(one, part)
    kept = _Kept(start, noise, mask, variant.keeps_clean)
    with torch.inference_mode():
        for one, part in experts:

            def report(step: int, clean: Tensor, x: Tensor, before: int = part.before) -> None:
                if on_step:
                    on_step(before + step + 1)

            # A MODEL's own cache knows of one expert only.
            cache, expert = (step_cache, part.expert) if step_cache else (one.step_cache and one.step_cache(), 0)
            attached = cache.attached(one.part.transformer, part.schedule.sigmas, expert) if cache else nullcontext()
            with one.changed(), attached as stage:
                x = solve(_Expert(one, part, entries, kept, stage).denoise, x, part.schedule, on_step=report)
        if mask is not None:
            # Solvers of higher order leave a trace of their history where the mask keeps the latent. Where it lets a
            # part of a change through, each step has blended already.
            x = torch.where(mask > 0, x, start)
    return variant.denormalise(x[:, :, padding:]).cpu()


def _check_changes(model: Model, part: ExpertSteps) -> None:
    """Say before anything is computed what a pass cannot change: its context raises."""
    for step in part.steps:
        for one in step.passes:
            if one.change is not None:
                with one.change(model.part.transformer):
                    pass


@dataclass(frozen=True)
class _Kept:
    """What a mask keeps of the latent.

    Attributes:
        start, noise: [B, C, T, h, w], as the transformer sees them.
        mask: 1 is made anew, 0 is kept; None: all is made anew.
        is_clean: what is kept enters the transformer without noise.
    """

    start: Tensor
    noise: Tensor
    mask: Tensor | None
    is_clean: bool

    def before(self, x: Tensor, sigma: Tensor, predicts: Prediction) -> Tensor:
        if self.mask is None:
            return x
        kept = self.start if self.is_clean else predicts.noised(self.start, self.noise, sigma)
        return x * self.mask + kept * (1 - self.mask)

    def after(self, clean: Tensor) -> Tensor:
        return clean if self.mask is None else clean * self.mask + self.start * (1 - self.mask)


class _Expert:
    """One of the run's models, with the conditions of its passes."""

    def __init__(
        self,
        model: Model,
        part: ExpertSteps,
        entries: dict[str, dict[str, Any]],
        kept: _Kept,
        stage: CachedStage | None,
    ):
        self.model, self.steps, self.kept, self.stage = model, part.steps, kept, stage
        self.predicts = part.schedule.prediction
        shape = tuple(kept.start.shape)
        self.conditions = {name: model.conditions(entry, shape) for name, entry in entries.items()}
        rows = len(self.conditions) * shape[0]
        self.together = _can_batch(list(self.conditions.values())) and _fits(model, rows, kept.start)

    def denoise(self, x: Tensor, sigma: Tensor, step: int) -> Tensor:
        """The clean latent of a step, guidance included."""
        check_interrupt()
        x = self.kept.before(x, sigma, self.predicts)
        now = self.steps[step]
        plain = [one for one in now.passes if one.change is None]
        changed = [one for one in now.passes if one.change is not None]
        clean = self._plain(plain, x, sigma)
        for one in changed:
            assert one.change is not None
            with one.change(self.model.part.transformer):
                clean[one.name] = self._evaluate([one], x, sigma, self._condition(one, len(x)))
        return self.kept.after(now.guided(PassResults(clean, x, sigma, now.cfg, self.predicts)))

    def _plain(self, passes: Sequence[Pass], x: Tensor, sigma: Tensor) -> dict[str, Tensor]:
        """What passes of the unchanged transformer give, in one call where they fit."""
        conditions, count = [self._condition(one, len(x)) for one in passes], len(passes)
        if self.together and count > 1:
            joined = {k: torch.cat([condition[k] for condition in conditions]) for k in conditions[0]}
            results = self._evaluate(passes, torch.cat([x] * count), sigma.repeat(count), joined).chunk(count)
        else:
            results = [self._evaluate([one], x, sigma, c) for one, c in zip(passes, conditions, strict=True)]
        return {one.name: result for one, result in zip(passes, results, strict=True)}

    def _condition(self, one: Pass, rows: int) -> dict[str, Tensor]:
        """A pass's conditions for every latent of the batch."""
        named = self.conditions.get(one.name, self.conditions[one.prompt])
        return {k: v.expand(rows, *v.shape[1:]) if len(v) == 1 else v for k, v in named.items()}

    def _evaluate(self, passes: Sequence[Pass], x: Tensor, sigma: Tensor, conditions: dict[str, Tensor]) -> Tensor:
        parts = [Part(one.name, one.name) for one in passes]
        with self.stage.call(parts, sigma[0].item(), x) if self.stage else nullcontext():
            return self.model.denoised(x, sigma, conditions)


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
