"""The steps that one transformer makes under a step cache, and what is kept for them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...base import Variant
from ..errors import SamplingError
from .gate import Gate
from .kept import Kept
from .plan import planned
from .policies import Look, Plan, Policy
from .record import Recorder, Seen
from .settings import StepCache

# Decisions look at every so many tokens.
THINNED = 8
GIB = 1024**3
# Why a step is computed: the policy wants it, or one of the guards.
RULE, FIRST, LAST, ROW = "rule", "first steps", "last steps", "in a row"
NOTHING, WILD, SIZE, MEMORY = "nothing kept", "not finite", "another size", "memory"


@dataclass(frozen=True)
class Part:
    """One condition of a call, which may hold several one after the other.

    Attributes:
        key: tells it from all others of the run; the same in every step.
        label: "positive" or "negative", or of guidance "weakened" or "unpictured", for the report.
    """

    key: Hashable
    label: str


@dataclass
class Call:
    """One condition's part of a call of the model.

    Attributes:
        step: evaluation of the sampler, from 0; solvers of second order make about two for each step of theirs.
        sigma: in the host's count.
        reason: why it was computed; empty where it was reused.
        seconds: its share of the whole call.
    """

    step: int
    sigma: float
    label: str
    computed: bool
    reason: str
    seconds: float = 0.0


class Stage:
    """The steps that one transformer makes.

    Args:
        policy: makes a fresh policy where no plan is known before the run.
        sigmas: [steps + 1].
        recorder: notes what every step shows; all are computed then.
    Attributes:
        settings: as settled for these steps.
        expert: which of a run's models makes them, from 0.
        plan: for each step whether it is reused; None where the run decides.
        calls: what was done, in order.
        peak: most bytes kept at any time.
        is_short: predictor "linear" was given up, as two results of each condition do not fit.
    """

    def __init__(
        self,
        settings: StepCache,
        variant: Variant | None,
        policy: Callable[[], Policy],
        transformer: nn.Module,
        sigmas: Sequence[float],
        expert: int,
        recorder: Recorder | None = None,
    ):
        self.settings, self.sigmas, self.expert, self.recorder = settings, list(sigmas[:-1]), expert, recorder
        plan = self.plan = planned(settings, sigmas, expert)
        self._make = policy if plan is None else lambda: Plan(plan)
        self.policy = self._make()
        self._tea = variant.family.sampling.teacache(variant) if recorder and variant else None
        saw = self._saw_first if recorder else None
        is_whole = settings.is_whole and recorder is None
        self.gate = Gate(transformer, self._enter, self._leave, self.policy.after_first, saw, is_whole)
        self.calls: list[Call] = []
        self.peak, self.is_short = 0, False
        self._kept: dict[Hashable, Kept] = {}
        self._lost: dict[Hashable, str] = {}
        self._sigma, self._seen, self._step, self._streak = math.nan, set[Hashable](), -1, 0
        self._leads, self._why = False, RULE
        self._form: tuple[Any, ...] | None = None
        self._clear()

    @property
    def steps(self) -> dict[str, dict[int, bool]]:
        """Label -> {step: whether it was computed}; a step with one computed window counts as computed."""
        found: dict[str, dict[int, bool]] = {}
        for call in self.calls:
            mine = found.setdefault(call.label, {})
            mine[call.step] = mine.get(call.step, False) or call.computed
        return found

    def drop(self) -> None:
        """Let go of all tensors."""
        self._kept.clear()
        self.policy = self._make()
        self._clear()
        if self.recorder:
            self.recorder.drop()

    def _clear(self) -> None:
        self._parts: Sequence[Part] = ()
        self._x: Tensor | None = None
        self._look: Look | None = None
        self._first: Tensor | None = None
        self._entered: tuple[int, ...] = ()
        self._now: dict[Hashable, dict[int, Tensor]] = {}

    @contextmanager
    def call(self, parts: Sequence[Part], sigma: float, x: Tensor, is_partial: bool = False) -> Iterator[None]:
        """Around one call of the transformer.

        Args:
            parts: the conditions in the batch, in order, with equally many latents each.
            x: the latents, as the sampler has them.
            is_partial: some blocks may be left out on purpose, so that their end is not reached.
        Raises:
            SamplingError: the blocks ran and nothing behind them did: the cache would do nothing.
        """
        keys = {part.key for part in parts}
        self._leads = sigma != self._sigma or bool(keys & self._seen)
        if self._leads:
            self._sigma, self._seen, self._step = sigma, set(), self._step + 1
        self._seen |= keys
        self._parts, self._x = parts, x
        before, began = len(self.calls), time.perf_counter()
        with self.gate.call():
            yield
            if not self.gate.left and not is_partial:
                raise SamplingError(
                    f"{type(self.gate.transformer).__name__} does not run all its blocks one after the other; a step "
                    "cache has no place there. Take it out."
                )
        self._keep()
        if x.device.type != "cpu":  # or the time would be that of sending the work off
            torch.get_device_module(x.device).synchronize()
        seconds = (time.perf_counter() - began) / len(parts)
        for call in self.calls[before:]:
            call.seconds = seconds
        if self.recorder:
            self.recorder.ended(seconds)
        self._clear()

    def _enter(
        self,
        streams: list[Tensor],
        block: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        first: Tensor | None,
    ) -> dict[int, Tensor] | None:
        x, count = streams[0], len(self._parts)
        rows = len(x) // count
        self._entered = (rows, *x.shape[1:])
        self._look = Look(
            index=min(range(len(self.sigmas)), key=lambda n: abs(self.sigmas[n] - self._sigma)),
            sigma=self._sigma,
            x=self._thin(x, 0),
            latent=x if self._x is None else self._x[: len(self._x) // count],
            first=None if first is None or not self.gate.after_first else self._thin(x, 0) - self._thin(first, 0),
            rows=rows,
            block=block,
            args=args,
            kwargs=kwargs,
        )
        if self._leads:
            self._why = self._decide(self._look, x)
        why, kept = self._why, [self._kept.get(part.key) for part in self._parts]
        if not why:
            lost = [self._lost.get(p.key, NOTHING) for p, one in zip(self._parts, kept, strict=True) if one is None]
            fits = all(one is None or one.form == self._entered for one in kept)
            why = lost[0] if lost else "" if fits else SIZE
        if self._leads:
            self._why, self._streak = why, 0 if why else self._streak + 1
        self.calls += [Call(self._step, self._sigma, part.label, bool(why), why) for part in self._parts]
        if why:
            return None
        added = [one.at(self._sigma, x.device) for one in kept if one is not None]
        joined = {n: torch.cat([one[n] for one in added]) if count > 1 else one for n, one in added[0].items()}
        if self.gate.is_whole:  # a copy: what follows may work in place
            return {n: one.clone() for n, one in joined.items()}
        return {n: streams[n] + one for n, one in joined.items()}

    def _decide(self, look: Look, x: Tensor) -> str:
        """Why the step is computed; empty to reuse it."""
        form = (look.x.shape, x.dtype, x.device)
        is_new = form != self._form
        if is_new:
            self.policy = self._make()
            self._kept.clear()
        was, self._form = self._form, form
        span = self.settings.span(len(self.sigmas))
        wants = self.policy.reuse(look)  # asked in every step: it keeps its history
        if is_new and was is not None:
            return SIZE
        if look.index not in span:
            return FIRST if look.index < max(span.start, 1) else LAST
        if not wants:
            return RULE
        # A plan has this in it.
        return ROW if self.plan is None and self._streak >= self.settings.max_consecutive else ""

    def _saw_first(self, entered: Tensor, left: Tensor) -> None:
        self._first = left - entered

    def _leave(self, number: int, entered: Tensor | None, left: Tensor) -> None:
        rows = len(left) // len(self._parts)
        added = left.detach().clone() if entered is None else (left - entered).to(entered.dtype)
        for part, one in zip(self._parts, added.split(rows), strict=True):
            self._now.setdefault(part.key, {})[number] = one
        if number or self._look is None:
            return
        if self._leads:
            self.policy.computed(self._look, self._thin(left, 0))
        if self.recorder:
            self._record(entered, left)

    def _record(self, entered: Tensor | None, left: Tensor) -> None:
        assert self.recorder and self._look is not None
        signal = None if self._tea is None else self._tea.signal(self._look.block, self._look.named())
        for n, part in enumerate(self._parts):
            out = self._thin(left, n)
            given = torch.zeros_like(out) if entered is None else self._thin(entered, n)
            size = 0 if signal is None else len(signal) // len(self._parts)
            self.recorder.see(
                part.label,
                self._step,
                Seen(
                    self._sigma,
                    given,
                    out,
                    None if self._first is None else self._thin(self._first, n),
                    None if signal is None else signal[n * size : (n + 1) * size].float().clone(),
                ),
            )

    def _keep(self) -> None:
        """What this call's blocks have added, for the steps to come."""
        if self.recorder:
            return
        for part in self._parts:
            added = self._now.get(part.key)
            if added is None:
                continue
            last = self._kept.pop(part.key, None)
            if not all(bool(torch.isfinite(one).all()) for one in added.values()):
                self._lost[part.key] = WILD
                continue
            if self.settings.device == "cpu":
                added = {n: one.to("cpu") for n, one in added.items()}
            elif len(self._parts) > 1:  # each by itself: a slice would hold the others' memory
                added = {n: one.clone() for n, one in added.items()}
            kept = Kept(self._sigma, added, self._entered)
            carries = self.settings.predictor == "linear" and not self.is_short
            if carries and last is not None and last.shapes == kept.shapes:
                kept = replace(kept, before=replace(last, before=None))
            total, most = sum(other.bytes for other in self._kept.values()) + kept.bytes, self.settings.memory * GIB
            if total > most and carries:
                self.is_short = True
                kept = replace(kept, before=None)
                self._kept = {key: replace(other, before=None) for key, other in self._kept.items()}
                total = sum(other.bytes for other in self._kept.values()) + kept.bytes
            if total > most:
                self._lost[part.key] = MEMORY
                continue
            self._lost.pop(part.key, None)
            self._kept[part.key] = kept
            self.peak = max(self.peak, total)

    def _thin(self, x: Tensor, part: int) -> Tensor:
        """Some of a condition's tokens as float32, with memory of their own; all of a latent."""
        rows = len(x) // len(self._parts)
        mine = x[part * rows : (part + 1) * rows]
        return (mine if self.gate.is_whole else mine[:, ::THINNED]).to(torch.float32, copy=True)
