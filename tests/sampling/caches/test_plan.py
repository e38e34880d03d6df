"""Plans that are known before a run: as written, by MagCache's rule, and the best of all by a recorded run."""

from __future__ import annotations

import pytest
import torch

from opent2v.sampling import SamplingError
from opent2v.sampling.caches import StepCache, best_plan, cache_runs, planned
from opent2v.sampling.caches.plan import written_mask, written_ratios
from opent2v.sampling.caches.rules import BlockInput, Planned
from opent2v.sampling.calibration import Recorded
from opent2v.tests.sampling.caches.doubling import Model, full, walk


def test_magcache_adds_up_how_far_the_size_has_gone():
    settings = StepCache("magcache", 0.3, 0.0, 1.0, plan="1 1 0.9 0.9 0.9 0.9 0.9 1")
    # After step 0 the size stays 1, then goes to 0.9 and 0.81 (errors 0, 0.1, 0.19: 0.29 in all), 0.729 would be 0.56:
    # computed. From there 0.9, and 0.81 again; the last step is computed.
    assert planned(settings, [1 - n / 8 for n in range(9)]) == [c == "r" for c in "crrrcrrc"]


def test_a_plan_is_read_in_three_ways():
    assert written_mask("3", 7) == [False, True, True, False, True, True, False]
    assert written_mask("c c r", 6) == [False] * 4 + [True] * 2  # spread over twice the steps
    assert written_ratios("1, 0.5", 4) == [1.0, 1.0, 0.5, 0.5]
    assert Planned([False, True]).reuse(entering(1)) is True


def entering(index):
    x = torch.ones(1)
    return BlockInput(index, 1.0, x, x, None, 1, torch.nn.Identity(), (x,), {})


def row(step, sigma, gamma=0.9, replay=(), **given):
    return Recorded(0, "positive", step, sigma, 0.1, gamma if step else None, replay=replay, **given)


def profile(steps=12):
    """Reusing a step costs 0.02 after one, 0.05 after two and 0.09 after three; ten times that in the first half."""
    rows = []
    for n in range(steps):
        share = 10 if n < steps // 2 else 1
        lags = tuple(share * error for error in (0.02, 0.05, 0.09))[:n]
        rows.append(row(n, 1 - n / steps, replay=lags, replay_linear=lags))
    return tuple(rows)


SIGMAS = [1 - n / 12 for n in range(13)]


def mask_text(plan):
    return "".join("r" if reused else "c" for reused in plan)


def test_the_best_plan_keeps_below_the_threshold():
    def plan(threshold, **given):
        settings = StepCache("optimal", threshold, 0.0, 1.0, profile=profile(), **given)
        found = planned(settings, SIGMAS)
        assert found is not None
        return mask_text(found)

    # 0.02 + 0.05 in a row is below 0.08, three would be 0.16; in the first half one step costs 0.2.
    assert plan(0.08) == "ccccccrrcrrc"
    assert plan(0.03) == "ccccccrcrcrc"
    assert plan(0.21).count("r") > plan(0.08).count("r")
    assert plan(0.01) == "c" * 12
    assert plan(10.0, max_consecutive=1).count("rr") == 0


def test_the_best_plan_of_so_many_steps():
    settings = StepCache("plan", plan="c", start=0.0, end=1.0)
    for computed in range(4, 13):
        assert best_plan(profile(), SIGMAS, computed, settings).count(False) == computed
    # No plan has fewer than the guards allow: of 12, three in a row and the ends.
    assert best_plan(profile(), SIGMAS, 1, settings).count(False) == 4
    assert mask_text(best_plan(profile(), SIGMAS, 9, settings)) == "ccccccrcrcrc"


@pytest.mark.parametrize("policy", ["optimal", "magcache"])
@pytest.mark.parametrize("boundary", ["model", "blocks"])
def test_the_plan_is_what_is_executed(policy, boundary):
    settings = StepCache(policy, 0.25, 0.0, 1.0, profile=profile(), boundary=boundary)
    run, model = cache_runs(settings, None)(), Model()
    walk(model, run, [full(1)] * 12)
    plan = planned(settings, torch.linspace(1, 0, 13).tolist())
    assert plan is not None and any(plan)
    assert [not computed for computed in run.stages[0].steps["positive"].values()] == plan == run.stages[0].plan
    assert model.runs == [plan.count(False)] * 3


def test_optimal_needs_a_profile():
    with pytest.raises(SamplingError, match=r"^The step cache's policy optimal plans by a profile, and there is none"):
        StepCache("optimal")
