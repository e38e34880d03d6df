"""What is known before a run: a target's plan, and what the user is told."""

from __future__ import annotations

import pytest

from opent2v.sampling import SamplingError
from opent2v.sampling.caches import CacheRequest, StepCache
from opent2v.sampling.caches.plan import estimate, least_threshold, mask_text, planned
from opent2v.sampling.caches.report import preview
from opent2v.sampling.calibration import ModelSetup, Profile, Recorded

MADE = ModelSetup("Wan tiny", ("aa",), ("",))


def levels(steps: int) -> list[float]:
    return [1 - n / steps for n in range(steps + 1)]


def profile(steps: int = 20) -> Profile:
    """Errors grow with the lag, and are large early in the run."""
    rows = []
    for n, sigma in enumerate(levels(steps)[:-1]):
        error = 0.2 if n < steps // 2 else 0.02
        rows.append(
            Recorded(
                0,
                "positive",
                n,
                sigma,
                1.0,
                gamma=1 - error if n else None,
                replay=tuple(error * k for k in range(1, min(n, 3) + 1)),
            )
        )
    return Profile(MADE, tuple(rows))


def resolved(policy: str = "auto", steps: int = 20, source: Profile | None = None, **given) -> StepCache:
    return CacheRequest.of(policy, source, **given).resolve(levels(steps))


def test_without_a_target_the_settings_are_the_users():
    assert resolved("first block", threshold=0.2) == StepCache(policy="first block", threshold=0.2)


def test_auto_goes_by_the_profile_and_says_so_without():
    with_profile, without = resolved(source=profile()), resolved()
    assert with_profile.policy == "optimal" and with_profile.notes == ()
    assert without.policy == "easycache" and without.notes == ("No profile is connected, so easycache decides.",)


@pytest.mark.parametrize("target", [1.5, 2.0])
@pytest.mark.parametrize("source", [None, profile()])
def test_a_target_is_met(target, source):
    found = resolved(source=source, target_speedup=target, start=0.1, end=1.0)
    plan = planned(found, levels(20))
    assert found.policy == "plan" and target <= estimate(plan) < target * 1.1
    how = "by the profile" if source else "evenly spaced, as no profile is connected"
    assert found.notes == (f"Aimed at {target:g} x: {20 - sum(plan)} of 20 steps computed, {how}.",)


def test_the_profiles_plan_reuses_where_it_costs_little():
    found = planned(resolved(source=profile(), target_speedup=1.5, start=0.0, end=1.0), levels(20))
    assert sum(found[10:]) > sum(found[:10])
    even = planned(resolved(target_speedup=1.5, start=0.0, end=1.0), levels(20))
    assert abs(sum(even[10:]) - sum(even[:10])) <= 1


@pytest.mark.parametrize("steps", [3, 4, 7, 12, 13, 50])
@pytest.mark.parametrize("longest", [1, 3])
def test_an_even_plan_needs_no_guard(steps, longest):
    found = resolved(steps=steps, target_speedup=10.0, few_steps=True, max_consecutive=longest)
    wanted = [letter == "r" for letter in found.plan]
    assert planned(found, levels(steps)) == wanted
    span = found.span(steps)
    assert sum(wanted) == len(span) - len(span) // (longest + 1), "as many as there can be"


def test_magcaches_threshold_is_found():
    found = resolved("magcache", source=profile(), target_speedup=1.5, start=0.0, end=1.0)
    assert found.policy == "magcache" and estimate(planned(found, levels(20))) >= 1.5
    lower = StepCache(policy="magcache", threshold=found.threshold / 1.02, profile=found.profile, start=0.0, end=1.0)
    assert estimate(planned(lower, levels(20))) < 1.5


@pytest.mark.parametrize("source", [None, profile()])
def test_a_target_out_of_reach_gives_the_most_and_says_so(source):
    found = resolved(source=source, target_speedup=8.0, start=0.5, end=1.0)
    plan = planned(found, levels(20))
    assert "start, end and max_consecutive allow no more than about" in found.notes[0]
    assert f"{estimate(plan):.2f} x" in found.notes[0] and sum(plan) >= 6


@pytest.mark.parametrize(("target", "is_reached"), [(1.46, True), (1.57, False)])
def test_one_step_decides_whether_a_target_is_in_reach(target, is_reached):
    # Of the last half of 20 steps, the last and every fourth are computed: 13. The targets allow 13, and 12.
    found = resolved(target_speedup=target, start=0.5, end=1.0)
    assert found.plan.count("C") == 13
    assert ("allow no more than about 1.51 x." in found.notes[0]) is not is_reached


def test_a_rule_that_decides_in_the_run_has_no_target():
    with pytest.raises(SamplingError, match="policy easycache does not know before the run which steps it reuses"):
        CacheRequest.of("easycache", target_speedup=2.0)
    with pytest.raises(
        SamplingError, match=r"target_speedup of the step cache is 11; expected 1.05 to 10, or 0 for none"
    ):
        CacheRequest.of("auto", target_speedup=11.0)


@pytest.mark.parametrize(("steps", "is_off"), [(4, True), (10, True), (11, False)])
def test_few_steps_are_not_cached_unless_asked(steps, is_off):
    found = resolved("easycache", steps)
    assert (found.policy == "off") is is_off
    assert resolved("easycache", steps, few_steps=True).policy == "easycache"
    assert resolved("plan", steps, plan="2").policy == "plan"
    if is_off:
        assert preview(found, levels(steps)) == [
            f"{steps} steps are few: the step cache is off. Set few_steps to true to use it all the same."
        ]


def test_one_experts_part_of_a_run_may_be_shorter():
    choice = CacheRequest.of("easycache")
    assert choice.resolve(levels(20)[:8]).policy == "easycache"  # 7 of 20 steps, at high noise
    assert choice.resolve(levels(8)[:5]).policy == "off"  # 4 of 8


def test_the_preview_is_the_plan():
    found = StepCache(policy="plan", plan="2", start=0.0, end=1.0)
    assert preview(found, levels(12)) == ["Plan: CrCrCrCrCrCC (7 of 12 steps computed, about 1.68 x)"]
    assert mask_text(planned(found, levels(12))) == "CrCrCrCrCrCC"
    assert preview(StepCache(), levels(12)) == ["easycache decides in the run which steps are reused."]


def test_nothing_and_too_much():
    low = StepCache(policy="magcache", threshold=0.001, profile=profile().rows, start=0.0, end=1.0)
    least = least_threshold(low, levels(20), 0, any)
    assert (
        preview(low, levels(20))[-1]
        == f"Nothing will be reused; the lowest threshold that reuses a step is {least:.3g}."
    )
    assert 0.015 < least < 0.03
    high = StepCache(policy="plan", plan="4", start=0.0, end=1.0)
    assert preview(high, levels(20))[-1].startswith("More than 60 % of the steps will be reused: expect another")


def test_no_step_may_be_reused():
    found = StepCache(policy="plan", plan="r", start=1.0, end=1.0)
    assert preview(found, levels(12))[-1] == (
        "Nothing will be reused: no step between start and end may be. Lower start, raise end or change plan."
    )


@pytest.mark.parametrize("given", [{"plan": ""}, {"plan": "fast", "profile": profile().rows}])
def test_magcache_without_ratios(given):
    with pytest.raises(SamplingError, match=r"magcache reads one ratio above 0 .* Calibrate Step Cache measures them"):
        StepCache(policy="magcache", **given)
