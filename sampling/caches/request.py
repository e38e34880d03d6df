"""A user's request for a step cache. Parts of it, such as a target speed, are resolved from a run's steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..calibration import ModelSetup, Profile
from ..errors import SamplingError
from .plan import REUSED, estimate, even_plan, planned, with_mask
from .settings import POLICIES, StepCache

AUTO = "auto"
# Policies that "auto" chooses: with a profile, and without one.
BY_PROFILE, FREE = "optimal", "easycache"
# Runs with no more steps than this, mostly of distilled models, have little to reuse.
FEW = 10
TARGETS = (1.05, 10.0)


@dataclass(frozen=True)
class CacheRequest:
    """The user's request; `resolve` turns it into settings for the steps of one run.

    Attributes:
        settings: the user's settings, with the policy that decides.
        is_auto: the user chose policy "auto".
        target_speedup: of the sampling loop, 1.05 to 10; 0: the threshold counts.
        few_steps: runs of few steps are cached as well.
        source: the profile from which `settings.profile` comes.
    Raises:
        SamplingError: a target for a policy that decides in the run, or out of its range.
    """

    settings: StepCache = field(default_factory=StepCache)
    is_auto: bool = False
    target_speedup: float = 0.0
    few_steps: bool = False
    source: Profile | None = None

    @classmethod
    def of(
        cls,
        policy: str,
        source: Profile | None = None,
        target_speedup: float = 0.0,
        few_steps: bool = False,
        **settings: Any,
    ) -> CacheRequest:
        """Make a request, also for policy "auto", which plans by the profile where there is one.

        Args:
            settings: of `StepCache`.
        """
        is_auto, rows = policy == AUTO, source.rows if source else ()
        policy = (BY_PROFILE if rows else FREE) if is_auto else policy
        return cls(StepCache(policy=policy, profile=rows, **settings), is_auto, target_speedup, few_steps, source)

    @classmethod
    def exactly(cls, settings: StepCache) -> CacheRequest:
        """These settings, for runs of any length."""
        return cls(settings, few_steps=True)

    def __post_init__(self) -> None:
        low, high = TARGETS
        if self.target_speedup and not low <= self.target_speedup <= high:
            raise SamplingError(
                f"target_speedup of the step cache is {self.target_speedup:g}; expected {low:g} to {high:g}, or 0 for "
                "none."
            )
        if self.target_speedup and not self.is_auto and POLICIES[self.settings.policy].aim is None:
            others = [AUTO, *(policy.name for policy in reversed(POLICIES.values()) if policy.aim is not None)]
            raise SamplingError(
                f"The step cache has a target_speedup, and policy {self.settings.policy} does not know before the run "
                f"which steps it reuses. Set policy to {', '.join(others[:-1])} or {others[-1]}, or target_speedup to "
                "0."
            )

    def for_models(self, models: ModelSetup) -> CacheRequest:
        """The request with the profile's rows for the models of a run.

        Raises:
            SamplingError: the profile was made for other models, LoRAs or settings.
        """
        if self.source is None:
            return self
        return replace(self, settings=replace(self.settings, profile=self.source.rows_for(models)))

    def with_strength(self, strength: float) -> CacheRequest:
        """The request with another target where it has one, else with another threshold."""
        if self.target_speedup:
            return replace(self, target_speedup=strength)
        return replace(self, settings=replace(self.settings, threshold=strength))

    def resolve(self, sigmas: Sequence[float], expert: int = 0) -> StepCache:
        """The settings of a run, or of one expert's part of it, whose steps are `sigmas` [steps + 1]."""
        steps, settings = len(sigmas) - 1, self.settings
        if settings.is_off or not POLICIES[settings.policy].has_strength:
            return settings
        if _is_few(sigmas) and not self.few_steps:
            note = f"{steps} steps are few: the step cache is off. Set few_steps to true to use it all the same."
            return replace(settings, policy="off", notes=(note,))
        if self.target_speedup:
            return self._aimed(sigmas, expert)
        if self.is_auto and not settings.profile:
            return replace(settings, notes=(f"No profile is connected, so {FREE} decides.",))
        return settings

    def _aimed(self, sigmas: Sequence[float], expert: int) -> StepCache:
        """The settings that come closest to the target."""
        steps = len(sigmas) - 1
        computed = max(1, int(steps * (1 / self.target_speedup - REUSED) / (1 - REUSED) + 1e-9))
        aim = POLICIES[self.settings.policy].aim
        if aim is not None:
            aimed, how = aim(self.settings, sigmas, expert, computed)
        else:
            aimed = with_mask(self.settings, even_plan(self.settings, steps, computed))
            how = "evenly spaced, as no profile is connected"
        mask = planned(aimed, sigmas, expert) or []
        note = f"Aimed at {self.target_speedup:g} x: {steps - sum(mask)} of {steps} steps computed, {how}."
        if steps - sum(mask) > computed:
            note += f" start, end and max_consecutive allow no more than about {estimate(mask):.2f} x."
        return replace(aimed, notes=(note,))


def _is_few(sigmas: Sequence[float]) -> bool:
    """Whether a run, or one expert's part of it, has few steps."""
    is_whole = sigmas[-1] == 0 and sigmas[0] >= 0.99
    return len(sigmas) - 1 <= (FEW if is_whole else FEW // 2)
