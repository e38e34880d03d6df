"""One run under a step cache: all its state, made when the run starts and dropped when it ends, however it ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SamplingError
from .gate import Gate
from .policies import Look, Policy
from .settings import StepCache

# Decisions look at every so many tokens.
THINNED = 8
GIB = 1024**3
# Part of the steps from which on a run is said to reuse much.
MUCH = 0.6


@dataclass(frozen=True)
class Part:
    """One condition of a call, which may hold several one after the other.

    Attributes:
        key: tells it from all others of the run; the same in every step.
        label: "positive", "negative" or "weakened" (by guidance), for the report.
    """

    key: Hashable
    label: str


@dataclass(frozen=True)
class Kept:
    """What the blocks added to one condition's tokens when they last ran, and the time before that."""

    sigma: float
    added: Tensor
    before: Kept | None = None

    @property
    def bytes(self) -> int:
        return self.added.nbytes + (self.before.bytes if self.before else 0)

    def at(self, sigma: float, like: Tensor) -> Tensor:
        added = self.added.to(like.device)
        if self.before is None or self.before.sigma == self.sigma:
            return added
        # Never further than the last two steps are apart: beyond, a straight line leads astray.
        far = min(max((sigma - self.sigma) / (self.sigma - self.before.sigma), 0.0), 1.0)
        return torch.lerp(self.before.added.to(like.device), added, 1 + far)


class CacheRun:
    """Counts of a run, and the stages it is made of: one for each expert.

    Args:
        policy: (steps) -> a fresh policy.
    """

    def __init__(self, settings: StepCache, policy: Callable[[int], Policy]):
        self.settings, self.policy = settings, policy
        self.stages: list[Stage] = []

    @contextmanager
    def attached(self, transformer: nn.Module, sigmas: Tensor) -> Iterator[Stage | None]:
        """Cover a transformer for the steps of `sigmas` [steps + 1]; None where the cache is off."""
        if self.settings.is_off:
            yield None
            return
        stage = Stage(self.settings, self.policy, transformer, sigmas)
        self.stages.append(stage)
        try:
            with stage.gate.attached():
                yield stage
        finally:
            stage.drop()

    def report(self) -> str:
        """ "12 of 20 steps computed", for each condition where they differ."""
        if self.settings.is_off:
            return "off, all steps computed"
        labels = list(dict.fromkeys(label for stage in self.stages for label in stage.steps))
        said = {}
        for label in sorted(labels, reverse=True):  # positive first
            steps = [one for stage in self.stages for one in stage.steps.get(label, {}).values()]
            said[label] = f"{sum(steps)} of {len(steps)} steps computed"
        if len(set(said.values())) == 1:
            return next(iter(said.values()))
        return ", ".join(f"{label} {text}" for label, text in said.items()) or "no step was run"

    def remarks(self) -> list[str]:
        """What the user is told after the run."""
        remarks = [f"Step cache ({self.settings.policy}): {self.report()}"]
        steps = [one for stage in self.stages for label in stage.steps.values() for one in label.values()]
        if any(stage.is_full for stage in self.stages):
            remarks.append(
                f"More than {self.settings.memory:g} GiB would be kept: the rest was computed. Raise memory, or set "
                "device to cpu."
            )
        elif steps and all(steps):
            remarks.append("The step cache reused nothing: raise its threshold, or take it out.")
        elif steps and sum(steps) < (1 - MUCH) * len(steps):
            remarks.append("More than 60 % of the steps were reused: expect another video than without the cache.")
        return remarks


class Stage:
    """The steps that one transformer makes.

    Attributes:
        steps: label -> {call of the model, from 0: whether it was computed}.
        is_full: whether something did not fit in the memory that may be used.
        peak: most bytes kept at any time.
    """

    def __init__(self, settings: StepCache, policy: Callable[[int], Policy], transformer: nn.Module, sigmas: Tensor):
        self.settings, self.sigmas, self._make = settings, sigmas[:-1].tolist(), policy
        self.policy = policy(len(self.sigmas))
        self.gate = Gate(transformer, self._enter, self._leave, self.policy.after_first)
        self.steps: dict[str, dict[int, bool]] = {}
        self.is_full, self.peak = False, 0
        self._kept: dict[Hashable, Kept] = {}
        self._sigma = math.nan
        self._seen: set[Hashable] = set()
        self._count, self._streak, self._reuses, self._leads = -1, 0, False, False
        self._form: tuple[Any, ...] | None = None
        self._parts: Sequence[Part] = ()
        self._look: Look | None = None

    def drop(self) -> None:
        """Let go of all tensors."""
        self._kept.clear()
        self.policy = self._make(len(self.sigmas))
        self._look = None

    @contextmanager
    def call(self, parts: Sequence[Part], sigma: float, is_partial: bool = False) -> Iterator[None]:
        """Around one call of the transformer.

        Args:
            parts: the conditions in the batch, in order, with equally many latents each.
            is_partial: some blocks may be left out on purpose, so that their end is not reached.
        Raises:
            SamplingError: the blocks ran and nothing behind them did: the cache would do nothing.
        """
        keys = {part.key for part in parts}
        self._leads = sigma != self._sigma or bool(keys & self._seen)
        if self._leads:
            self._sigma, self._seen, self._count = sigma, set(), self._count + 1
        self._seen |= keys
        self._parts = parts
        with self.gate.call():
            yield
            if not self.gate.left and not is_partial:
                raise SamplingError(
                    f"{type(self.gate.transformer).__name__} does not run all its blocks one after the other; a step "
                    "cache has no place there. Take it out."
                )

    def _enter(
        self, x: Tensor, block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], first: Tensor | None
    ) -> Tensor | None:
        rows = len(x) // len(self._parts)
        if self._leads:
            step = min(range(len(self.sigmas)), key=lambda n: abs(self.sigmas[n] - self._sigma))
            added = None if first is None else _thin(x, rows) - _thin(first, rows)
            self._look = Look(step, _thin(x, rows), added, rows, block, args, kwargs)
            self._reuses = self._decide(self._look, x)
        kept = [self._kept.get(part.key) for part in self._parts]
        fits = all(one is not None and one.added.shape == (rows, *x.shape[1:]) for one in kept)
        reuses = self._reuses and fits
        if self._leads:
            self._reuses, self._streak = reuses, self._streak + 1 if reuses else 0
        for part in self._parts:
            steps = self.steps.setdefault(part.label, {})
            steps[self._count] = steps.get(self._count, False) or not reuses
        if not reuses:
            return None
        added = [one.at(self._sigma, x) for one in kept if one is not None]
        return x + (added[0] if len(added) == 1 else torch.cat(added))

    def _decide(self, look: Look, x: Tensor) -> bool:
        form = (look.x.shape, x.dtype, x.device)
        if form != self._form:
            self._form, self.policy = form, self._make(len(self.sigmas))
            self._kept.clear()
        steps, settings = len(self.sigmas), self.settings
        begin, end = max(1, round(settings.start * steps)), min(steps - 1, round(settings.end * steps))
        wants = self.policy.reuse(look)  # asked in every step: it keeps its history
        return wants and begin <= look.index < end and self._streak < settings.max_consecutive

    def _leave(self, entered: Tensor, left: Tensor) -> None:
        added = (left - entered).to(entered.dtype)
        rows = len(added) // len(self._parts)
        is_finite = bool(torch.isfinite(added).all())
        for part, one in zip(self._parts, added.split(rows), strict=True):
            last = self._kept.pop(part.key, None)
            if not is_finite:
                continue
            # Each part by itself: a slice would hold the others' memory.
            one = one.to("cpu") if self.settings.device == "cpu" else one.clone() if len(self._parts) > 1 else one
            if self.settings.predictor == "linear" and last is not None and last.added.shape == one.shape:
                kept = Kept(self._sigma, one, Kept(last.sigma, last.added))
            else:
                kept = Kept(self._sigma, one)
            total = sum(other.bytes for other in self._kept.values()) + kept.bytes
            if total > self.settings.memory * GIB:
                self.is_full = True
                continue
            self._kept[part.key] = kept
            self.peak = max(self.peak, total)
        if self._leads and self._look is not None:
            self.policy.computed(self._look, _thin(left, rows))


def _thin(x: Tensor, rows: int) -> Tensor:
    """A part of the first condition's tokens as float32, with memory of its own."""
    return x[:rows, ::THINNED].to(torch.float32, copy=True)
