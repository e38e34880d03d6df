"""Masks of reused steps that are known before the run: as the user wrote, by MagCache's rule, or of least error.

MagCache: arXiv:2506.09045. The best plan is a shortest path over the computed steps, an idea of LeMiCa (NeurIPS 2025);
its lengths are the errors that a recorded run showed. A plan is a mask: for each step whether it is reused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..calibration import Curve, Recorded
from ..calibration.curve import Errors
from ..errors import SamplingError
from .settings import POLICIES, StepCache

# Time of a reused step as a share of a computed step's, before it is measured: the time of the layers outside the
# blocks.
REUSED = 0.03
# Largest threshold.
HIGHEST = 10.0


def planned(settings: StepCache, sigmas: Sequence[float], expert: int = 0) -> list[bool] | None:
    """Whether each step is reused; None where the run itself decides.

    Args:
        sigmas: [steps + 1], falling.
        expert: which of the profile's models makes these steps.
    Raises:
        SamplingError: the profile holds fewer than two steps of that model.
    """
    if settings.is_off:
        return [False] * (len(sigmas) - 1)
    plan = POLICIES[settings.policy].plan
    return None if plan is None else plan(settings, sigmas, expert)


def written_mask(plan: str, steps: int) -> list[bool]:
    """The mask that the user wrote, spread over `steps`.

    Raises:
        SamplingError: it is neither a number nor made of c and r.

    >>> written_mask("ccrr", 4), written_mask("2", 4)
    ([False, False, True, True], [False, True, False, True])
    """
    text = "".join(plan.split()).lower()
    if text.isdecimal() and int(text) > 0:
        return [step % int(text) != 0 for step in range(steps)]
    if not text or set(text) - {"c", "r"}:
        raise SamplingError(
            f"The plan of the step cache is {plan!r}; expected a number n (every n-th step is computed) or a "
            "letter for each step, c computed and r reused, such as ccccrcrrc."
        )
    return [text[step * len(text) // steps] == "r" for step in range(steps)]


def written_ratios(plan: str, steps: int) -> list[float]:
    """The ratios that the user wrote, spread over `steps`: the residual's norm relative to the step before.

    Raises:
        SamplingError: there are none, or one is not above 0.
    """
    try:
        ratios = [float(word) for word in plan.replace(",", " ").split()]
    except ValueError:
        ratios = []
    if not ratios or not all(math.isfinite(ratio) and ratio > 0 for ratio in ratios):
        raise SamplingError(
            f"The plan of the step cache is {plan!r}; magcache reads one ratio above 0 for each step from it, "
            "such as 1.0 0.99 0.98. Calibrate Step Cache measures them: connect its profile and "
            "leave plan empty, or set policy to easycache, which needs none."
        )
    return [ratios[step * len(ratios) // steps] for step in range(steps)]


def guarded(settings: StepCache, steps: int, wants: Callable[[int, int], bool]) -> list[bool]:
    """The mask of a policy, limited by start, end and max_consecutive.

    Args:
        wants: (step, last computed step) -> whether the policy would reuse it.
    """
    span, mask, since = settings.span(steps), [], 0
    for step in range(steps):
        mask.append(step in span and step - since <= settings.max_consecutive and wants(step, since))
        since = since if mask[-1] else step
    return mask


def drift(ratios: Sequence[float]) -> float:
    """MagCache's error: the deviation of the residual's norm from 1, summed over the steps."""
    size, total = 1.0, 0.0
    for ratio in ratios:
        size *= ratio
        total += abs(1 - size)
    return total


def best_plan(
    rows: Sequence[Recorded], sigmas: Sequence[float], computed: int, settings: StepCache, expert: int = 0
) -> list[bool]:
    """The mask of least cost with this many computed steps, or with as few as the guards of `settings` allow."""
    errors = Curve(rows, expert).errors(settings.predictor, sigmas)
    return shortest(settings, len(sigmas) - 1, errors, computed)


def shortest(settings: StepCache, steps: int, errors: Errors, computed: int | None) -> list[bool]:
    """The mask of least cost with `computed` steps; None: the fewest steps whose errors stay below the threshold.

    This is a shortest path: an edge leads from a computed step to the next one, over the reused steps between them.
    """
    span = settings.span(steps)
    # For each step as the last computed one: number of computed steps so far -> (least cost, computed step before it).
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
            added, price = errors(step, since)
            error, cost = error + added, cost + price
            if computed is None and not error < settings.threshold:
                break
    counts = best[-1]  # the last step is never reused
    count = min(counts) if computed is None else min(max(computed, min(counts)), max(counts))
    mask, at = [True] * steps, steps - 1
    while at >= 0:
        mask[at] = False
        at, count = best[at][count][1], count - 1
    return mask


def even_plan(settings: StepCache, steps: int, computed: int) -> list[bool]:
    """A mask with this many computed steps, whose reused steps form runs of about the same length."""
    span = settings.span(steps)
    reused = min(steps - computed, len(span) - len(span) // (settings.max_consecutive + 1))
    runs = len(span) - reused + 1  # with one computed step between each two
    lengths = [reused * (n + 1) // runs - reused * n // runs for n in range(runs)]
    inside = [letter == "r" for letter in "c".join("r" * length for length in lengths)]
    return [False] * span.start + inside + [False] * (steps - span.stop)


def least_threshold(
    settings: StepCache, sigmas: Sequence[float], expert: int, is_enough: Callable[[Sequence[bool]], bool]
) -> float | None:
    """The lowest threshold up to 10 whose plan satisfies `is_enough`, to 1 %; None: none does, or the run decides."""

    def holds(threshold: float) -> bool:
        mask = planned(replace(settings, threshold=threshold), sigmas, expert)
        return mask is not None and is_enough(mask)

    low, high = 1e-6, HIGHEST
    if not holds(high):
        return None
    while high > low * 1.01:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def with_mask(settings: StepCache, mask: Sequence[bool]) -> StepCache:
    """The settings with a fixed mask in place of their policy."""
    return replace(settings, policy="plan", plan=mask_text(mask), profile=())


def mask_text(mask: Sequence[bool]) -> str:
    """ "CCrC": C computed, r reused."""
    return "".join("r" if reused else "C" for reused in mask)


def estimate(mask: Sequence[bool]) -> float:
    """Estimated speed of the sampling loop relative to computing every step."""
    return len(mask) / (len(mask) - (1 - REUSED) * sum(mask)) if mask else 1.0
