"""What a user asks of a step cache that only the run's steps can answer: a speed, and what will happen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import SamplingError
from .plan import best_plan, planned
from .profile import MadeFor, Profile
from .settings import StepCache

AUTO = "auto"
# The rule that "auto" takes without a profile.
FREE = "easycache"
# Runs of so many steps have little to reuse: distilled models above all.
FEW = 10
# A reused step's share of a computed one's time, where nothing is measured: what lies outside the blocks.
REUSED = 0.03
# Part of the steps from which on a run is said to reuse much.
MUCH = 0.6
TARGETS = (1.05, 10.0)


@dataclass(frozen=True)
class Choice(StepCache):
    """Settings that `settled` turns into those of one run.

    Attributes:
        is_auto: the rule is not the user's.
        target_speedup: of the sampling loop, 1.05 to 10; 0: the threshold counts.
        few_steps: runs of few steps are under the cache as well.
        source: where `profile` comes from.
    Raises:
        SamplingError: a target for a rule that decides in the run, or out of its range.
    """

    is_auto: bool = False
    target_speedup: float = 0.0
    few_steps: bool = False
    source: Profile | None = None

    @classmethod
    def of(cls, policy: str, source: Profile | None = None, **settings: Any) -> Choice:
        """With "auto" among the policies: by the profile where there is one."""
        is_auto = policy == AUTO
        rows = source.rows if source else ()
        policy = ("optimal" if rows else FREE) if is_auto else policy
        return cls(policy=policy, is_auto=is_auto, source=source, profile=rows, **settings)

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = TARGETS
        if self.target_speedup and not low <= self.target_speedup <= high:
            raise SamplingError(
                f"target_speedup of the step cache is {self.target_speedup:g}; expected {low:g} to {high:g}, or 0 for "
                "none."
            )
        if self.target_speedup and not self.is_auto and self.policy not in ("optimal", "magcache"):
            raise SamplingError(
                f"The step cache has a target_speedup, and policy {self.policy} does not know before the run which "
                "steps it reuses. Set policy to auto, optimal or magcache, or target_speedup to 0."
            )

    def of_profile(self, now: MadeFor) -> Choice:
        """With the part of the profile that holds for this run.

        Raises:
            SamplingError: the profile was made for something else.
        """
        return self if self.source is None else replace(self, profile=self.source.rows_for(now))

    def settled(self, sigmas: Sequence[float], expert: int = 0) -> StepCache:
        steps = len(sigmas) - 1
        plain = StepCache(**{one.name: getattr(self, one.name) for one in fields(StepCache)})
        if self.is_off or self.policy == "plan":
            return plain
        if _is_few(sigmas) and not self.few_steps:
            said = f"{steps} steps are few: the step cache is off. Set few_steps to true to use it all the same."
            return replace(plain, policy="off", said=(said,))
        if self.target_speedup:
            return self._aimed(plain, sigmas, expert)
        if self.is_auto and not self.profile:
            return replace(plain, said=(f"No profile is connected, so {FREE} decides.",))
        return plain

    def _aimed(self, plain: StepCache, sigmas: Sequence[float], expert: int) -> StepCache:
        """The target's threshold, or its plan."""
        steps = len(sigmas) - 1
        computed = max(1, int(steps * (1 / self.target_speedup - REUSED) / (1 - REUSED) + 1e-9))
        found, how = plain, "evenly spaced, as no profile is connected"
        if self.policy == "magcache":
            least = least_threshold(plain, sigmas, expert, lambda plan: steps - sum(plan) <= computed)
            found = replace(plain, threshold=10.0 if least is None else least)
            how = f"threshold {found.threshold:.3g}"
        elif self.profile:
            found, how = _written(plain, best_plan(self.profile, sigmas, computed, plain, expert)), "by the profile"
        else:
            found = _written(plain, _even(plain, steps, computed))
        plan = planned(found, sigmas, expert) or []
        said = f"Aimed at {self.target_speedup:g} x: {steps - sum(plan)} of {steps} steps computed, {how}."
        if steps - sum(plan) > computed:
            said += f" start, end and max_consecutive allow no more than about {estimate(plan):.2f} x."
        return replace(found, said=(said,))


def _is_few(sigmas: Sequence[float]) -> bool:
    """Of a run, or of one expert's part of it."""
    is_whole = sigmas[-1] == 0 and sigmas[0] >= 0.99
    return len(sigmas) - 1 <= (FEW if is_whole else FEW // 2)


def _written(settings: StepCache, plan: Sequence[bool]) -> StepCache:
    return replace(settings, policy="plan", plan=letters(plan), profile=())


def _even(settings: StepCache, steps: int, computed: int) -> list[bool]:
    """So many steps computed, the others in runs of about the same length where they may be reused."""
    span = settings.span(steps)
    reused = min(steps - computed, len(span) - len(span) // (settings.max_consecutive + 1))
    runs = len(span) - reused + 1  # with one computed step between each two
    lengths = [reused * (n + 1) // runs - reused * n // runs for n in range(runs)]
    inside = [letter == "r" for letter in "c".join("r" * length for length in lengths)]
    return [False] * span.start + inside + [False] * (steps - span.stop)


def estimate(plan: Sequence[bool]) -> float:
    """Speed of the sampling loop against computing every step, before anything is measured."""
    return len(plan) / (len(plan) - (1 - REUSED) * sum(plan)) if plan else 1.0


def least_threshold(
    settings: StepCache, sigmas: Sequence[float], expert: int, is_enough: Callable[[Sequence[bool]], bool]
) -> float | None:
    """The lowest threshold up to 10 whose plan is enough, to 1 %; None where none is, or the run decides."""

    def holds(threshold: float) -> bool:
        plan = planned(replace(settings, threshold=threshold), sigmas, expert)
        return plan is not None and is_enough(plan)

    low, high = 1e-6, 10.0
    if not holds(high):
        return None
    while high > low * 1.01:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def letters(plan: Sequence[bool]) -> str:
    """ "CCrC": C computed, r reused."""
    return "".join("r" if reused else "C" for reused in plan)


def preview(settings: StepCache, sigmas: Sequence[float], expert: int = 0) -> list[str]:
    """What is known before a run.

    Args:
        settings: settled.
    """
    if settings.is_off:
        return list(settings.said)
    plan = planned(settings, sigmas, expert)
    if plan is None:
        return [*settings.said, f"{settings.policy} decides in the run which steps are reused."]
    computed = len(plan) - sum(plan)
    lines = [
        *settings.said,
        f"Plan: {letters(plan)} ({computed} of {len(plan)} steps computed, about {estimate(plan):.2f} x)",
    ]
    if not any(plan):
        least = None if settings.policy == "plan" else least_threshold(settings, sigmas, expert, any)
        lines.append(
            f"Nothing will be reused; the lowest threshold that reuses a step is {least:.3g}."
            if least
            else "Nothing will be reused: no step between start and end may be. Lower start, raise end or change plan."
        )
    elif sum(plan) > MUCH * len(plan):
        lines.append("More than 60 % of the steps will be reused: expect another video than without the cache.")
    return lines
