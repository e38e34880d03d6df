"""A sampling run on the embedded host: the same arithmetic as the host's guider, without the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...base.guidance import Conditioning, Pass, PassResults
from ...sampling import ExpertSteps, Run, Step, solve
from ...sampling.caches import BatchItem, CachedStage, CacheRun
from ...sampling.clips import refuse_cache_of_clips
from ...sampling.ranges import START, number_at
from ...sampling.streams import Packing, unbind
from ...sampling.strengths import pieces, refuse_cache
from ...sampling.travel import AT, are_stops, mixed, mixture, moment_of
from ...sampling.windows import TIME, Window, blended
from ..watch import watched
from .machine import free_memory
from .model import Model
from .nested import nested
from .patches import at_strengths, strengths_of
from .place import check_interrupt
from .start import Start, as_video, start_of


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
) -> Any:
    model = model.at_shift(run.shift)
    variant = model.part.variant
    video, *others = [stream.float() for stream in unbind(latent["samples"])]
    samples = [as_video(video, variant.geometry.channels), *others]
    start = start_of(variant, latent, samples, run, model.device, model.windows)
    entries = {
        name: [
            {"cross_attn": context, **values, "denoise_mask": start.family_mask, "seed": run.seed}
            for context, values in c
        ]
        for name, c in run.conditionings(positive, negative).items()
    }
    schedule = run.schedule
    predicts, first = schedule.prediction, schedule.sigmas[:1].to(start.noise)
    x = start.noise
    if not schedule.starts_from_noise:
        x = predicts.model_input(predicts.noised(start.latent, start.noise, first), first)
    pairs = zip((model, second_expert and second_expert.at_shift(run.shift)), run.parts, strict=False)
    experts: list[tuple[Model, ExpertSteps]] = []
    for expert_model, part in pairs:
        if not expert_model or not part.steps:
            continue
        strengths = strengths_of(expert_model)
        has_cache = step_cache is not None or expert_model.step_cache is not None
        refuse_cache(strengths, has_cache)
        refuse_cache_of_clips(run.seeds, has_cache)
        experts += [(at_strengths(expert_model, factors), piece) for piece, factors in pieces(part, strengths)]
    for expert_model, part in experts:
        _check_changes(expert_model, part)
    with torch.inference_mode():
        for expert_model, part in experts:

            def report(step: int, clean: Tensor, x: Tensor, before: int = part.before) -> None:
                if on_step:
                    on_step(before + step + 1)

            # A MODEL's own cache knows of one expert only.
            cache, expert = step_cache, part.expert
            if cache is None and expert_model.step_cache is not None:
                cache, expert = expert_model.step_cache(), 0
            transformer = expert_model.part.transformer
            attached = cache.attached(transformer, part.schedule.sigmas, expert) if cache else nullcontext()
            with expert_model.changed(), attached as stage, watched([transformer], lambda *_: check_interrupt()):
                x = solve(_Expert(expert_model, part, entries, start, stage).denoise, x, part.schedule, on_step=report)
        if start.mask is not None:
            # Solvers of higher order leave a trace of their history where the mask keeps the latent. Where it lets a
            # part of a change through, each step has blended already.
            x = torch.where(start.mask > 0, x, start.latent)
    streams = zip(variant.streams, samples, start.packing.unpack(x), strict=False)
    return nested([stream.denormalise(x[:, :, stream.front_padding(sample) :]).cpu() for stream, sample, x in streams])


def _check_changes(model: Model, part: ExpertSteps) -> None:
    """Say before anything is computed what a pass cannot change: its context raises."""
    for step in part.steps:
        for guidance_pass in step.passes:
            if guidance_pass.change is not None:
                with guidance_pass.change(model.part.transformer):
                    pass


class _Expert:
    """One of the run's models, with the conditions of its passes."""

    def __init__(
        self,
        model: Model,
        part: ExpertSteps,
        entries: dict[str, list[dict[str, Any]]],
        start: Start,
        stage: CachedStage | None,
    ):
        self.model, self.steps, self.start, self.stage = model, part.steps, start, stage
        self.predicts = part.schedule.prediction
        self.stops = {
            name: [(entry[AT], model.conditions(entry, start.family_shape)) for entry in prompts]
            for name, prompts in entries.items()
            if are_stops(prompts)
        }
        self.conditions = {
            name: self.stops[name][0][1] if name in self.stops else model.conditions(prompts[0], start.family_shape)
            for name, prompts in entries.items()
        }
        # Prompts that count for a part of the noise levels each, and their conditions.
        self.ranged = {
            name: (prompts, [model.conditions(entry, start.family_shape) for entry in prompts])
            for name, prompts in entries.items()
            if len(prompts) > 1 and START in prompts[0]
        }
        self.whole = _Call(self.conditions, start.packing)
        batch, channels, frames, *sides = start.packing.shapes[0]
        shown = frames if model.windows is None else min(frames, model.windows.length)
        shape = (len(self.conditions) * batch, channels, shown, *sides)
        everything = [*self.conditions.values(), *(each for _, prompts in self.ranged.values() for each in prompts)]
        self.together = _can_batch(everything) and _fits(model, shape)

    def denoise(self, x: Tensor, sigma: Tensor, step: int) -> Tensor:
        """The clean latent of a step, guidance included."""
        check_interrupt()
        self._choose_prompts(sigma[0].item())
        x = self.start.before(x, sigma, self.predicts)
        now, windows = self.steps[step], self.start.windows(self.model.windows, step)
        clean = self._windowed(now, windows, x, sigma) if windows else self._passes(now, x, sigma, self.whole)
        results = self.start.packing.results(PassResults(clean, x, sigma, now.cfg, self.predicts))
        return self.start.after(self.start.packing.pack([now.guided(result) for result in results]))

    def _choose_prompts(self, sigma: float) -> None:
        """Take the prompts that count at this noise level."""
        if not self.ranged:
            return
        variant = self.model.part.variant
        for name, (prompts, conditions) in self.ranged.items():
            self.conditions[name] = conditions[number_at(prompts, variant, sigma)]
        self.whole = _Call(self.conditions, self.start.packing)

    def _windowed(self, now: Step, windows: Sequence[Window], x: Tensor, sigma: Tensor) -> dict[str, Tensor]:
        """What the passes of a step give, put together from windows over time."""
        packing, variant = self.start.packing, self.model.part.variant

        def evaluate(window: Window, streams: list[Tensor]) -> dict[str, list[Tensor]]:
            check_interrupt()
            conditions = {
                name: window.conditions(variant, self._at(name, window), self.start.family_shape)
                for name in self.conditions
            }
            call = _Call(conditions, Packing.of(streams), window.frames[0])
            results = self._passes(now, call.packing.pack(streams), sigma, call)
            return {name: call.packing.unpack(result) for name, result in results.items()}

        results = blended(packing.unpack(x), windows, evaluate)
        return {name: packing.pack(streams) for name, streams in results.items()}

    def _at(self, name: str, window: Window) -> dict[str, Tensor]:
        """A pass's conditions in the middle of a window."""
        if name not in self.stops:
            return self.conditions[name]
        geometry, count = self.model.part.variant.geometry, self.start.packing.shapes[0][TIME]
        stops = [place.frame(geometry.frames(count)) for place, _ in self.stops[name]]
        before, behind, share = mixture(stops, moment_of(window.frames[0], count, geometry.temporal))
        return mixed(self.stops[name][before][1], self.stops[name][behind][1], share)

    def _passes(self, now: Step, x: Tensor, sigma: Tensor, call: _Call) -> dict[str, Tensor]:
        """What the passes of a step give."""
        plain = [guidance_pass for guidance_pass in now.passes if guidance_pass.change is None]
        changed = [guidance_pass for guidance_pass in now.passes if guidance_pass.change is not None]
        clean = self._plain(plain, x, sigma, call)
        for guidance_pass in changed:
            assert guidance_pass.change is not None
            with guidance_pass.change(self.model.part.transformer):
                clean[guidance_pass.name] = self._evaluate(
                    [guidance_pass], x, sigma, call.condition(guidance_pass, len(x)), call
                )
        return clean

    def _plain(self, passes: Sequence[Pass], x: Tensor, sigma: Tensor, call: _Call) -> dict[str, Tensor]:
        """What passes of the unchanged transformer give, in one call where they fit."""
        conditions, count = [call.condition(guidance_pass, len(x)) for guidance_pass in passes], len(passes)
        if self.together and count > 1:
            joined = {k: torch.cat([condition[k] for condition in conditions]) for k in conditions[0]}
            results = self._evaluate(passes, torch.cat([x] * count), sigma.repeat(count), joined, call).chunk(count)
        else:
            results = [
                self._evaluate([guidance_pass], x, sigma, c, call)
                for guidance_pass, c in zip(passes, conditions, strict=True)
            ]
        return {guidance_pass.name: result for guidance_pass, result in zip(passes, results, strict=True)}

    def _evaluate(
        self, passes: Sequence[Pass], x: Tensor, sigma: Tensor, conditions: dict[str, Tensor], call: _Call
    ) -> Tensor:
        items = [BatchItem((guidance_pass.name, call.frames), guidance_pass.name) for guidance_pass in passes]
        packing = call.packing
        with self.stage.call(items, sigma[0].item(), packing.unpack(x)[0]) if self.stage else nullcontext():
            return self.model.denoised(x, sigma, conditions, packing if self.start.is_joint else None)


@dataclass(frozen=True)
class _Call:
    """What the calls of the transformer for one latent share.

    Attributes:
        conditions: name of a pass -> its conditions.
        packing: of the latent.
        frames: of the whole latent that it shows; None: all of them.
    """

    conditions: dict[str, dict[str, Tensor]]
    packing: Packing
    frames: tuple[int, ...] | None = None

    def condition(self, guidance_pass: Pass, rows: int) -> dict[str, Tensor]:
        """A pass's conditions for every latent of the batch."""
        named = self.conditions.get(guidance_pass.name, self.conditions[guidance_pass.prompt])
        return {k: v.expand(rows, *v.shape[1:]) if len(v) == 1 else v for k, v in named.items()}


def _can_batch(conditions: list[dict[str, Tensor]]) -> bool:
    """Whether the prompts' conditions have the same names and shapes, so that one call can take them all."""
    first, *following = [{k: v.shape[1:] for k, v in c.items()} for c in conditions]
    return all(first == shapes for shapes in following)


def _fits(model: Model, shape: tuple[int, ...]) -> bool:
    needed = 1.5 * model.part.variant.sample_memory(shape, model.dtype.itemsize)
    return needed < free_memory(model.device)
