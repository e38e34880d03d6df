"""The table of policies: what each needs, and how it decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...base import Variant
from ..calibration import Curve
from ..errors import SamplingError
from .plan import (
    HIGHEST,
    best_plan,
    drift,
    guarded,
    least_threshold,
    shortest,
    with_mask,
    written_mask,
    written_ratios,
)
from .rules import Easy, FirstBlock, Planned, Rule, Sea, Tea
from .settings import POLICIES, Policy, StepCache


def rule_maker(settings: StepCache, variant: Variant | None) -> Callable[[], Rule]:
    """A function that makes a new rule for each run.

    Raises:
        SamplingError: TeaCache is asked for and nobody has published coefficients for this model.
    """
    rule = POLICIES[settings.policy].rule
    # A policy without a rule has a plan, which takes its place in the run.
    return rule(settings, variant) if rule is not None else lambda: Planned([])


def _teacache(settings: StepCache, variant: Variant | None) -> Callable[[], Rule]:
    official = variant.family.sampling.teacache(variant) if variant else None
    if official is None:
        title = variant.title if variant else "this MODEL, which no family here recognises"
        raise SamplingError(
            f"TeaCache needs coefficients made for the model, and there are none for {title}; those of another "
            "model would freeze the video or do nothing. Set policy to easycache, which needs none."
        )
    return lambda: Tea(settings.threshold, official)


def _seacache(settings: StepCache, variant: Variant | None) -> Callable[[], Rule]:
    return lambda: Sea(settings.threshold, is_flow=variant is None or variant.prediction == "flow")


def _check_mask(settings: StepCache) -> None:
    written_mask(settings.plan, 1)


def _as_written(settings: StepCache, sigmas: Sequence[float], expert: int) -> list[bool]:
    steps = len(sigmas) - 1
    mask = written_mask(settings.plan, steps)
    return guarded(settings, steps, lambda step, since: mask[step])


def _check_ratios(settings: StepCache) -> None:
    if settings.plan.strip() or not settings.profile:
        written_ratios(settings.plan, 1)


def _by_ratios(settings: StepCache, sigmas: Sequence[float], expert: int) -> list[bool]:
    steps = len(sigmas) - 1
    is_written = bool(settings.plan.strip())
    ratios = written_ratios(settings.plan, steps) if is_written else Curve(settings.profile, expert).ratios(sigmas)
    return guarded(settings, steps, lambda step, since: drift(ratios[since + 1 : step + 1]) < settings.threshold)


def _by_threshold(settings: StepCache, sigmas: Sequence[float], expert: int, computed: int) -> tuple[StepCache, str]:
    least = least_threshold(settings, sigmas, expert, lambda mask: len(mask) - sum(mask) <= computed)
    aimed = replace(settings, threshold=HIGHEST if least is None else least)
    return aimed, f"threshold {aimed.threshold:.3g}"


def _below_threshold(settings: StepCache, sigmas: Sequence[float], expert: int) -> list[bool]:
    errors = Curve(settings.profile, expert).errors(settings.predictor, sigmas)
    return shortest(settings, len(sigmas) - 1, errors, None)


def _by_profile(settings: StepCache, sigmas: Sequence[float], expert: int, computed: int) -> tuple[StepCache, str]:
    return with_mask(settings, best_plan(settings.profile, sigmas, computed, settings, expert)), "by the profile"


def _all_computed(settings: StepCache, sigmas: Sequence[float], expert: int) -> list[bool]:
    return [False] * (len(sigmas) - 1)


_OWN = (
    Policy("easycache", rule=lambda settings, _: lambda: Easy(settings.threshold)),
    Policy("first block", rule=lambda settings, _: lambda: FirstBlock(settings.threshold), looks_inside=True),
    Policy("teacache", rule=_teacache, looks_inside=True),
    Policy("magcache", plan=_by_ratios, check=_check_ratios, aim=_by_threshold),
    Policy("plan", plan=_as_written, check=_check_mask, has_strength=False),
    Policy("off", plan=_all_computed, has_strength=False, is_off=True),
    Policy("seacache", rule=_seacache),
    Policy("optimal", plan=_below_threshold, aim=_by_profile, needs_profile=True),
)
POLICIES |= {policy.name: policy for policy in _OWN}
