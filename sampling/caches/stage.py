"""The steps of one transformer under a step cache, and the results kept for them."""

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
from ..calibration import Observation, Recorder
from ..errors import SamplingError
from .gate import Gate
from .kept import Kept
from .plan import planned
from .rules import BlockInput, Planned, Rule
from .settings import StepCache

# Decisions use one of this many tokens.
THINNED = 8
GIB = 1024**3
# Reasons why a step is computed: the rule decides so, or one of the guards.
RULE, FIRST, LAST, ROW = "rule", "first steps", "last steps", "in a row"
NOTHING, WILD, SIZE, MEMORY = "nothing kept", "not finite", "another size", "memory"


@dataclass(frozen=True)
class BatchItem:
    """One condition of a call, which may hold several one after the other.

    Attributes:
        key: identifies the condition within the run; the same in every step.
        label: the name of a pass of guidance, "positive" or "negative" for most, for the report.
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


class CachedStage:
    """The steps that one transformer makes.

    Args:
        make_rule: makes a fresh rule, for runs of which no plan is known.
        sigmas: [steps + 1].
        recorder: notes what every step shows; all are computed then.
    Attributes:
        settings: as resolved for these steps.
        expert: which of a run's models makes them, from 0.
        plan: for each step whether it is reused; None where the rule decides.
        calls: one for each condition of each call of the model, in order.
        peak: most bytes kept at any time.
        is_short: predictor "linear" was given up, as two results of each condition do not fit.
    """

    def __init__(
        self,
        settings: StepCache,
        variant: Variant | None,
        make_rule: Callable[[], Rule],
        transformer: nn.Module,
        sigmas: Sequence[float],
        expert: int,
        recorder: Recorder | None = None,
    ):
        self.settings, self.sigmas, self.expert, self.recorder = settings, list(sigmas[:-1]), expert, recorder
        plan = self.plan = planned(settings, sigmas, expert)
        self._make_rule = make_rule if plan is None else lambda: Planned(plan)
        self.rule = self._make_rule()
        self._tea = variant.family.sampling.teacache(variant) if recorder and variant else None
        saw = self._saw_first if recorder else None
        is_whole = settings.is_whole and recorder is None
        self.gate = Gate(transformer, self._enter, self._leave, self.rule.after_first, saw, is_whole)
        self.calls: list[Call] = []
        self.peak, self.is_short = 0, False
        self._kept: dict[Hashable, Kept] = {}
        self._lost: dict[Hashable, str] = {}
        self._sigma, self._seen, self._step, self._streak = math.nan, set[Hashable](), -1, 0
        self._leads, self._reason = False, RULE
        self._form: tuple[Any, ...] | None = None
        self._clear()

    @property
    def steps(self) -> dict[str, dict[int, bool]]:
        """Label -> {step: whether it was computed}; a step with one computed window counts as computed."""
        steps: dict[str, dict[int, bool]] = {}
        for call in self.calls:
            computed = steps.setdefault(call.label, {})
            computed[call.step] = computed.get(call.step, False) or call.computed
        return steps

    def drop(self) -> None:
        """Let go of all tensors."""
        self._kept.clear()
        self.rule = self._make_rule()
        self._clear()
        if self.recorder:
            self.recorder.drop()

    def _clear(self) -> None:
        self._items: Sequence[BatchItem] = ()
        self._x: Tensor | None = None
        self._block_input: BlockInput | None = None
        self._first: Tensor | None = None
        self._entered: tuple[int, ...] = ()
        self._now: dict[Hashable, dict[int, Tensor]] = {}

    @contextmanager
    def call(self, items: Sequence[BatchItem], sigma: float, x: Tensor, is_partial: bool = False) -> Iterator[None]:
        """Around one call of the transformer.

        Args:
            items: the conditions in the batch, in order, with equally many latents each.
            x: the latents [rows, C, T, h, w], as the sampler has them; of several streams, the picture.
            is_partial: some blocks may be left out on purpose, so that their end is not reached.
        Raises:
            SamplingError: the blocks ran and nothing behind them did: the cache would do nothing.
        """
        keys = {item.key for item in items}
        self._leads = sigma != self._sigma or bool(keys & self._seen)
        if self._leads:
            self._sigma, self._seen, self._step = sigma, set(), self._step + 1
        self._seen |= keys
        self._items, self._x = items, x
        before, began = len(self.calls), time.perf_counter()
        with self.gate.call():
            yield
            if not self.gate.left and not is_partial:
                raise SamplingError(
                    f"{type(self.gate.transformer).__name__} does not run all its blocks one after the other; a step "
                    "cache has no place there. Take it out."
                )
        self._keep()
        if x.device.type != "cpu":  # otherwise only the launch of the kernels would be timed
            torch.get_device_module(x.device).synchronize()
        seconds = (time.perf_counter() - began) / len(items)
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
        entering = self._block_input = self._looked_at(streams[0], block, args, kwargs, first)
        if self._leads:
            self._reason = self._decide(entering, streams[0])
        kept = [self._kept.get(item.key) for item in self._items]
        reason = self._reason or self._missing(kept)
        if self._leads:
            self._reason, self._streak = reason, 0 if reason else self._streak + 1
        self.calls += [Call(self._step, self._sigma, item.label, bool(reason), reason) for item in self._items]
        return None if reason else self._stand_ins([result for result in kept if result is not None], streams)

    def _looked_at(
        self,
        x: Tensor,
        block: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        first: Tensor | None,
    ) -> BlockInput:
        rows = len(x) // len(self._items)
        self._entered = (rows, *x.shape[1:])
        return BlockInput(
            index=min(range(len(self.sigmas)), key=lambda n: abs(self.sigmas[n] - self._sigma)),
            sigma=self._sigma,
            x=self._thin(x, 0),
            latent=x if self._x is None else self._x[: len(self._x) // len(self._items)],
            first=None if first is None or not self.gate.after_first else self._thin(x, 0) - self._thin(first, 0),
            rows=rows,
            block=block,
            args=args,
            kwargs=kwargs,
        )

    def _missing(self, kept: Sequence[Kept | None]) -> str:
        """The reason why kept results cannot be reused although the rule asks for it; "" where they can."""
        for item, result in zip(self._items, kept, strict=True):
            if result is None:
                return self._lost.get(item.key, NOTHING)
        return "" if all(result is not None and result.form == self._entered for result in kept) else SIZE

    def _stand_ins(self, kept: Sequence[Kept], streams: Sequence[Tensor]) -> dict[int, Tensor]:
        """Stream number -> stand-in for the blocks' output, the conditions in one batch, in the order of the call."""
        added = [result.at(self._sigma, streams[0].device) for result in kept]
        if len(added) == 1:
            joined = added[0]
        else:
            joined = {number: torch.cat([tensors[number] for tensors in added]) for number in added[0]}
        if self.gate.is_whole:  # a copy, because the model's later code may work in place
            return {number: tensor.clone() for number, tensor in joined.items()}
        return {number: streams[number] + tensor for number, tensor in joined.items()}

    def _decide(self, entering: BlockInput, x: Tensor) -> str:
        """The reason why the step is computed; "" to reuse it."""
        form = (entering.x.shape, x.dtype, x.device)
        is_new = form != self._form
        if is_new:
            self.rule = self._make_rule()
            self._kept.clear()
        was, self._form = self._form, form
        span = self.settings.span(len(self.sigmas))
        wants = self.rule.reuse(entering)  # asked in every step, because the rule keeps a history
        if is_new and was is not None:
            return SIZE
        if entering.index not in span:
            return FIRST if entering.index < max(span.start, 1) else LAST
        if not wants:
            return RULE
        # A plan already respects max_consecutive.
        return ROW if self.plan is None and self._streak >= self.settings.max_consecutive else ""

    def _saw_first(self, entered: Tensor, left: Tensor) -> None:
        self._first = left - entered

    def _leave(self, number: int, entered: Tensor | None, left: Tensor) -> None:
        rows = len(left) // len(self._items)
        added = left.detach().clone() if entered is None else (left - entered).to(entered.dtype)
        for item, rows_added in zip(self._items, added.split(rows), strict=True):
            self._now.setdefault(item.key, {})[number] = rows_added
        if number or self._block_input is None:
            return
        if self._leads:
            self.rule.computed(self._block_input, self._thin(left, 0))
        if self.recorder:
            self._record(entered, left)

    def _record(self, entered: Tensor | None, left: Tensor) -> None:
        assert self.recorder and self._block_input is not None
        signal = None
        if self._tea is not None:
            signal = self._tea.signal(self._block_input.block, self._block_input.named())
        for n, item in enumerate(self._items):
            size = 0 if signal is None else len(signal) // len(self._items)
            out = self._thin(left, n)
            observation = Observation(
                self._sigma,
                entered=torch.zeros_like(out) if entered is None else self._thin(entered, n),
                left=out,
                first=None if self._first is None else self._thin(self._first, n),
                signal=None if signal is None else signal[n * size : (n + 1) * size].float().clone(),
            )
            self.recorder.see(item.label, self._step, observation)

    def _keep(self) -> None:
        """Keep this call's results for later steps."""
        if self.recorder:
            return
        for item in self._items:
            added = self._now.get(item.key)
            if added is None:
                continue
            last = self._kept.pop(item.key, None)
            if all(bool(torch.isfinite(tensor).all()) for tensor in added.values()):
                self._store(item.key, Kept(self._sigma, self._own_memory(added), self._entered), last)
            else:
                self._lost[item.key] = WILD

    def _own_memory(self, added: dict[int, Tensor]) -> dict[int, Tensor]:
        """The tensors on the device where results are kept, with their own memory."""
        if self.settings.device == "cpu":
            return {number: tensor.to("cpu") for number, tensor in added.items()}
        if len(self._items) > 1:  # a copy, because a slice would keep the other conditions' memory alive
            return {number: tensor.clone() for number, tensor in added.items()}
        return added

    def _store(self, key: Hashable, result: Kept, last: Kept | None) -> None:
        """Keep a condition's result, with the one before for predictor "linear", as far as memory allows."""
        is_linear = self.settings.predictor == "linear" and not self.is_short
        if is_linear and last is not None and last.shapes == result.shapes:
            result = replace(result, before=replace(last, before=None))
        limit = self.settings.memory * GIB
        if is_linear and self._bytes_with(result) > limit:
            self.is_short = True
            result = replace(result, before=None)
            self._kept = {condition: replace(kept, before=None) for condition, kept in self._kept.items()}
        total = self._bytes_with(result)
        if total > limit:
            self._lost[key] = MEMORY
            return
        self._lost.pop(key, None)
        self._kept[key] = result
        self.peak = max(self.peak, total)

    def _bytes_with(self, result: Kept) -> int:
        return sum(kept.bytes for kept in self._kept.values()) + result.bytes

    def _thin(self, x: Tensor, place: int) -> Tensor:
        """A sample of a condition's tokens as float32, with its own memory; a latent is taken whole."""
        rows = len(x) // len(self._items)
        mine = x[place * rows : (place + 1) * rows]
        return (mine if self.gate.is_whole else mine[:, ::THINNED]).to(torch.float32, copy=True)
