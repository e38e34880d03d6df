"""One sampling run: what a user asks for, and the steps that it comes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..base import Variant
from ..base.guidance import NEGATIVE, POSITIVE, Conditioning, Guide, Pass, PassResults
from .guidance import Guidance
from .schedule import Schedule


@dataclass(frozen=True)
class SamplerRequest:
    """The sampler's settings as a user makes them; 0 and "reference" are the model's own, see `make_schedule`.

    Attributes:
        seeds: in place of the seed, one for each clip of the batch; empty: the seed's noise for the whole batch.
        cfg: scale of classifier-free guidance; 1 is off.
        denoise: share of the whole schedule that is walked, above 0 to 1.
        sigmas: the noise levels to walk, falling, without the final 0; they take the place of steps, shift and denoise.
    """

    seed: int = 0
    steps: int = 0
    cfg: float = 0.0
    shift: float = 0.0
    solver: str = "reference"
    denoise: float = 1.0
    sigmas: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    guidance: Guidance = field(default_factory=Guidance)


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        sigma: noise level, as the host counts it.
        timestep: what the model is told, 0..1000.
        cfg: scale of classifier-free guidance; 1 leaves the negative prompt out.
        expert: which of the run's models makes the step, from 0.
        guides: the guidance beyond cfg, in the order in which it works.
    """

    sigma: float
    timestep: float
    cfg: float
    expert: int = 0
    guides: tuple[Guide, ...] = ()

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Passes of the model: the negative prompt, the positive one, then the passes that guidance needs besides."""
        guided = [guidance_pass for guide in self.guides for guidance_pass in guide.passes()]
        # A guide may change what the transformer makes of the positive prompt.
        positive = next((changed for changed in guided if changed.name == POSITIVE.name), POSITIVE)
        passes = [*([] if math.isclose(self.cfg, 1) else [NEGATIVE]), positive, *guided]
        named = {guidance_pass.name: guidance_pass for guidance_pass in reversed(passes)}
        first = [named.pop(name) for name in (NEGATIVE.name, POSITIVE.name) if name in named]
        return (*first, *reversed(named.values()))

    def before_cfg(self, results: PassResults) -> PassResults:
        for guide in self.guides:
            results = replace(results, clean=guide.before_cfg(results))
        return results

    def after_cfg(self, clean: Tensor, results: PassResults) -> Tensor:
        """
        Args:
            clean: what cfg has made of the positive and the negative prompt's clean latents.
            results: as `before_cfg` returned them.
        """
        for guide in self.guides:
            clean = guide.after_cfg(clean, results)
        return clean

    def guided(self, results: PassResults) -> Tensor:
        """The clean latent that the solver takes, cfg included, for a host that has no cfg of its own."""
        results = self.before_cfg(results)
        positive, negative = results.clean[POSITIVE.name], results.clean.get(NEGATIVE.name)
        clean = positive if negative is None else negative + (positive - negative) * self.cfg
        return self.after_cfg(clean, results)


@dataclass(frozen=True)
class ExpertSteps:
    """The steps that one of a run's models makes.

    Attributes:
        expert: which model, from 0.
        schedule: of these steps alone; all parts of a run share the solver's state.
        before: how many steps of the run are done when these begin.
    """

    expert: int
    schedule: Schedule
    steps: tuple[Step, ...]
    before: int


@dataclass(frozen=True)
class Values:
    """What 0 and "auto" of a request came to.

    Attributes:
        cfg: of the first model; where the model is told its guidance (`Variant.embeds_guidance`), that.
        second_cfg: of the second expert, None where there is none.
        picture_cfg: None where no picture guides.
    """

    cfg: float
    cfg_schedule: str
    second_cfg: float | None = None
    picture_cfg: float | None = None


@dataclass(frozen=True)
class Run:
    """One run, made fresh for it: the schedule carries the solver's state.

    Attributes:
        steps: in the order in which they are made.
        seed: of the noise that the run starts from.
        seeds: in its place, one for each clip of the batch: each clip is the one that its seed makes alone.
        experts: how many models share the steps, 1 or 2.
        embedded_guidance: what a guidance-distilled model is told, None for others.
        variant, request, values: of a planned run, for `describe`.
    """

    schedule: Schedule
    steps: tuple[Step, ...]
    seed: int = 0
    seeds: tuple[int, ...] = ()
    experts: int = 1
    embedded_guidance: float | None = None
    variant: Variant | None = None
    request: SamplerRequest | None = None
    values: Values | None = None

    @property
    def shift(self) -> float:
        """The shift that was asked for, or that of few steps; 0: the model's own."""
        few = None if self.variant is None else self.variant.few_steps
        makers = few.shift[0] if few is not None and few.shift else 0.0
        return makers if self.request is None else self.request.shift or makers

    @property
    def parts(self) -> tuple[ExpertSteps, ...]:
        """One for each model; the part of one that makes no step is empty."""
        parts, done = [], 0
        for expert in range(self.experts):
            steps = tuple(step for step in self.steps if step.expert == expert)
            parts.append(ExpertSteps(expert, self.schedule.part(done, done + len(steps)), steps, done))
            done += len(steps)
        return tuple(parts)

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes of all steps; those of one name that change the transformer differently are all there."""
        return tuple(dict.fromkeys(guidance_pass for step in self.steps for guidance_pass in step.passes))

    def conditionings(self, positive: Conditioning, negative: Conditioning) -> dict[str, Conditioning]:
        """Name of a pass -> its CONDITIONING; a pass that is not there has its prompt's."""
        named = {POSITIVE.name: positive, NEGATIVE.name: negative}
        if self.embedded_guidance is not None:
            named = {name: _with_guidance(conditioning, self.embedded_guidance) for name, conditioning in named.items()}
        for guidance_pass in self.passes:
            if guidance_pass.conditioning is not None and guidance_pass.name not in named:
                named[guidance_pass.name] = guidance_pass.conditioning(named[guidance_pass.prompt])
        return named


def _with_guidance(conditioning: Conditioning, scale: float) -> Conditioning:
    """With the guidance that the transformer is told, unless another node has set it."""
    return [[context, {"guidance": scale, **entries}] for context, entries in conditioning]


def steps_of(variant: Variant, steps: int) -> int:
    """How many steps a run has; 0 asks for the model's own."""
    return steps or len(variant.sigmas) or variant.defaults.steps


def make_run(
    schedule: Schedule,
    cfg: float | Sequence[float],
    seed: int = 0,
    *,
    second_cfg: float | Sequence[float] | None = None,
    boundary: float = 0.0,
    guides: Callable[[int, float], tuple[Guide, ...]] = lambda step, cfg: (),
) -> Run:
    """A run of a schedule.

    Args:
        cfg: one for all steps, or one for each.
        second_cfg: the same for the steps of a second expert; None where there is none.
        boundary: share of noise (0..1) below which the second expert makes the steps.
        guides: (number of the step from 0, its cfg) -> its guidance beyond cfg.
    """
    count = schedule.steps
    first = count if second_cfg is None else schedule.steps_above(boundary)
    scales = (
        _each(cfg, count) if second_cfg is None else [*_each(cfg, count)[:first], *_each(second_cfg, count)[first:]]
    )
    levels = zip(schedule.sigmas[:-1].tolist(), schedule.timesteps.tolist(), scales, strict=True)
    steps = tuple(
        Step(sigma, timestep, scale, int(n >= first), guides(n, scale))
        for n, (sigma, timestep, scale) in enumerate(levels)
    )
    return Run(schedule, steps, seed, experts=1 if second_cfg is None else 2)


def _each(cfg: float | Sequence[float], count: int) -> list[float]:
    return [float(cfg)] * count if isinstance(cfg, int | float) else [float(scale) for scale in cfg]
