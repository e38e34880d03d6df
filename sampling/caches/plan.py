"""Which steps are reused, where that is known before the run: as written, by MagCache's rule, or the best of all.

MagCache: arXiv:2506.09045. The best plan is a shortest path over the computed steps, an idea of LeMiCa (NeurIPS 2025);
its lengths are the errors that a recorded run showed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ..errors import SamplingError

if TYPE_CHECKING:
    from .settings import StepCache

# As far as a recorded run looks back.
LAGS = 3


@dataclass(frozen=True)
class Recorded:
    """What one step of a recorded run showed, for one condition. Changes are relative L1; None without a step before.

    Attributes:
        expert: 0, or 1 for the model that takes over.
        label: of the condition, see `Part`.
        step: call of the model, from 0.
        sigma: in the host's count.
        seconds: its share of the whole call.
        gamma, spread: size of what the blocks add, against the step before: mean over the tokens, and its deviation.
        signal: TeaCache's, for a family that has one.
        input, output: of what enters the blocks, and of what leaves them.
        answer: change of the output for that of the input, both absolute: EasyCache's rate.
        first: of what the first block adds.
        replay: error of what leaves the blocks if they ran 1, 2, 3 steps before for the last time, under "last".
        replay_linear: the same under "linear", and one step in 2, 3, 4 is computed.
    """

    expert: int
    label: str
    step: int
    sigma: float
    seconds: float
    gamma: float | None = None
    spread: float | None = None
    signal: float | None = None
    input: float | None = None
    output: float | None = None
    answer: float | None = None
    first: float | None = None
    replay: tuple[float, ...] = ()
    replay_linear: tuple[float, ...] = ()


# (step, last computed step) -> (error of reusing it, what that costs the run)
Errors = Callable[[int, int], tuple[float, float]]


def planned(settings: StepCache, sigmas: Sequence[float], expert: int = 0) -> list[bool] | None:
    """For each step whether it is reused; None where the run itself decides.

    Args:
        sigmas: [steps + 1], falling.
        expert: which of the profile's models makes these steps.
    Raises:
        SamplingError: the profile holds fewer than two steps of that model.
    """
    steps = len(sigmas) - 1
    if settings.is_off:
        return [False] * steps
    if settings.policy == "plan":
        strip = settings.strip(steps)
        return _guarded(settings, steps, lambda step, since: strip[step])
    if settings.policy == "magcache":
        ratios = settings.ratios(steps) if settings.plan.strip() else Curve(settings.profile, expert).ratios(sigmas)
        return _guarded(settings, steps, lambda step, since: _drift(ratios[since + 1 : step + 1]) < settings.threshold)
    if settings.policy == "optimal":
        return _shortest(settings, steps, Curve(settings.profile, expert).errors(settings.predictor, sigmas), None)
    return None


def best_plan(
    rows: Sequence[Recorded], sigmas: Sequence[float], computed: int, settings: StepCache, expert: int = 0
) -> list[bool]:
    """The plan of least cost with so many computed steps, or with as few as the guards of `settings` allow."""
    errors = Curve(rows, expert).errors(settings.predictor, sigmas)
    return _shortest(settings, len(sigmas) - 1, errors, computed)


def _guarded(settings: StepCache, steps: int, wants: Callable[[int, int], bool]) -> list[bool]:
    """`wants`: (step, last computed step) -> whether the policy would reuse it."""
    span, plan, since = settings.span(steps), [], 0
    for step in range(steps):
        plan.append(step in span and step - since <= settings.max_consecutive and wants(step, since))
        since = since if plan[-1] else step
    return plan


def _drift(ratios: Sequence[float]) -> float:
    """How far the size of what the blocks add goes from 1, added up over the steps."""
    size, total = 1.0, 0.0
    for ratio in ratios:
        size *= ratio
        total += abs(1 - size)
    return total


def _shortest(settings: StepCache, steps: int, errors: Errors, computed: int | None) -> list[bool]:
    """The plan of least cost with `computed` steps; without a number the fewest whose errors stay below the threshold.

    A path: from each computed step to the next, over reused ones.
    """
    span = settings.span(steps)
    # Where each step is the last computed: number of computed steps so far -> (least cost, the computed one before).
    best: list[dict[int, tuple[float, int]]] = [{} for _ in range(steps)]
    best[0][1] = 0.0, -1
    for since in range(steps):
        error = cost = 0.0
        for step in range(since + 1, steps):
            for count, (before, _) in best[since].items():
                if before + cost < best[step].get(count + 1, (math.inf, 0))[0]:
                    best[step][count + 1] = before + cost, since
            if step not in span or step - since > settings.max_consecutive:
                break
            one, price = errors(step, since)
            error, cost = error + one, cost + price
            if computed is None and not error < settings.threshold:
                break
    counts = best[-1]  # the last step is never reused
    count = min(counts) if computed is None else min(max(computed, min(counts)), max(counts))
    plan, at = [True] * steps, steps - 1
    while at >= 0:
        plan[at] = False
        at, count = best[at][count][1], count - 1
    return plan


class Curve:
    """What a recorded run showed of one model under the positive prompt, at any noise level.

    Raises:
        SamplingError: fewer than two steps of that model.
    """

    def __init__(self, rows: Sequence[Recorded], expert: int):
        mine = [row for row in rows if row.label == "positive" and row.expert == expert]
        # One row a level: samplers of second order come to some twice.
        self.rows = sorted({row.sigma: row for row in mine}.values(), key=lambda row: -row.sigma)
        if len(self.rows) < 2:
            raise SamplingError(
                f"The step cache's profile holds {len(self.rows)} steps of model {expert + 1}; at least 2 are needed. "
                "Make it with the sampler, the models and the prompts of this run."
            )

    def ratios(self, sigmas: Sequence[float]) -> list[float]:
        """For each step the size of what the blocks add, against the step before; it changes evenly between levels."""
        levels, logs = [], [0.0]
        for row in self.rows:
            levels.append(row.sigma)
            logs.append(logs[-1] + (math.log(row.gamma) if row.gamma and len(levels) > 1 else 0.0))
        sizes = [_between(levels, logs[1:], sigma) for sigma in sigmas[:-1]]
        return [1.0, *(math.exp(b - a) for a, b in pairwise(sizes))]

    def errors(self, predictor: str, sigmas: Sequence[float]) -> Errors:
        levels = [row.sigma for row in self.rows]

        def of_row(n: int, distance: float) -> float:
            """Error at a recorded step of what is so much older, in sigma; in a straight line between the lags."""
            row = self.rows[n]
            known = (row.replay if predictor == "last" else row.replay_linear) or row.replay
            xs, ys = [0.0, *(levels[n - 1 - k] - levels[n] for k in range(len(known)))], [0.0, *known]
            at = next((k for k in range(1, len(xs)) if distance <= xs[k]), len(xs) - 1)
            slope = (ys[at] - ys[at - 1]) / (xs[at] - xs[at - 1])
            return max(ys[at] + slope * (distance - xs[at]), 0.0)

        def error(step: int, since: int) -> tuple[float, float]:
            sigma, distance = sigmas[step], sigmas[since] - sigmas[step]
            # The first recorded step has nothing before it.
            below = min(
                max(next((n for n, one in enumerate(levels) if one <= sigma), len(levels) - 1), 1), len(levels) - 1
            )
            above = max(below - 1, 1)
            share = (levels[above] - sigma) / (levels[above] - levels[below]) if above != below else 0.0
            share = min(max(share, 0.0), 1.0)
            found = (1 - share) * of_row(above, distance) + share * of_row(below, distance)
            return found, found * (sigmas[step] - sigmas[step + 1])

        return error


def _between(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """The line through falling `xs`, level outside."""
    if x >= xs[0]:
        return ys[0]
    for n in range(1, len(xs)):
        if x >= xs[n]:
            return ys[n - 1] + (ys[n] - ys[n - 1]) * (xs[n - 1] - x) / (xs[n - 1] - xs[n])
    return ys[-1]
