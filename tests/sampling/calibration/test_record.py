"""What a recording run notes, by hand, and the plans that are made of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from opent2v.base import TeaCache
from opent2v.sampling import SamplingError
from opent2v.sampling.caches import StepCache, best_plan, cache_runs, planned, recording_run
from opent2v.sampling.calibration import Curve, Recorded
from opent2v.tests.sampling.caches.doubling import NEGATIVE, POSITIVE, Model, full, walk


def recorded(*values):
    run = recording_run(None)
    results = walk(Model(), run, [full(value) for value in values])
    return run, results


def test_a_recording_run_is_bit_identical():
    torch.manual_seed(0)
    model, xs = Model("in place"), [torch.randn(2, 9, 3) for _ in range(4)]
    run = recording_run(None)
    for got, x in zip(walk(model, run, xs, (NEGATIVE, POSITIVE)), xs, strict=True):
        assert torch.equal(got, model(x))
    assert [(row.label, row.step) for row in run.recorded] == [
        (label, step) for step in range(4) for label in ("negative", "positive")
    ]
    assert run.stages[0]._kept == {} and run.stages[0].recorder._seen == {}


def test_what_is_noted():
    run, _ = recorded(1, 2, 4, 4, 4, 4)
    first, second, third, fourth = run.recorded[:4]
    assert first.gamma is None and first.replay == () and first.seconds > 0
    # 1 -> 8 and 2 -> 16: 7 and 14 were added
    assert (second.gamma, second.spread) == pytest.approx((2, 0))
    assert (second.input, second.output, second.answer) == pytest.approx((1, 1, 8))
    assert second.first == pytest.approx(1)  # the first block adds 1, then 2
    assert second.replay == pytest.approx((7 / 16,)) and second.signal is None
    # 28 were added; 14 a step before and 7 two before
    assert third.replay == pytest.approx((14 / 32, 21 / 32))
    # One step in two is computed: the line from step 0's 7 to step 2's 28 comes to 38.5 at step 3.
    assert fourth.replay_linear == pytest.approx((abs(28 - (28 + 21 * 0.5)) / 32,))
    assert fourth.answer is None  # nothing moved


def test_every_condition_of_a_batch_has_its_own_signal():
    """TeaCache's signal here is what enters the first block, twice the rows of the batch."""
    tea = TeaCache((1.0, 0.0), 0.0, 1.0, lambda block, named: named["hidden"].repeat_interleave(2, dim=0))
    variant = SimpleNamespace(family=SimpleNamespace(sampling=SimpleNamespace(teacache=lambda variant: tea)))
    run = recording_run(variant)
    walk(Model(), run, [full(1, 10), full(3, 15), full(12, 15)], (NEGATIVE, POSITIVE))
    signals = {label: [row.signal for row in run.recorded if row.label == label] for label in ("negative", "positive")}
    # 1, 3, 12: changes of twice and three times; 10, 15, 15: of a half, and none.
    assert signals == {
        "negative": [None, pytest.approx(2), pytest.approx(3)],
        "positive": [None, pytest.approx(0.5), 0],
    }
    firsts = {row.label: row.first for row in run.recorded if row.step == 1}
    assert firsts == {"negative": pytest.approx(2), "positive": pytest.approx(0.5)}


def row(step, sigma, gamma=0.9, replay=(), **given):
    return Recorded(0, "positive", step, sigma, 0.1, gamma if step else None, replay=replay, **given)


def test_ratios_carry_over_to_other_steps():
    sigmas = [1 - n / 10 for n in range(11)]
    curve = Curve([row(n, sigma) for n, sigma in enumerate(sigmas[:-1])], 0)
    assert curve.ratios(sigmas) == pytest.approx([1] + [0.9] * 9)
    # Half as many steps: each is two of the recorded ones.
    assert curve.ratios(sigmas[::2]) == pytest.approx([1] + [0.81] * 4)
    with pytest.raises(
        SamplingError, match=r"^The step cache's profile holds 0 steps of model 2; at least 2 are needed"
    ):
        Curve(curve.rows, 1)


def profile(steps=12):
    """Reusing a step costs 0.02 after one, 0.05 after two and 0.09 after three; ten times that in the first half."""
    rows = []
    for n in range(steps):
        share = 10 if n < steps // 2 else 1
        lags = tuple(share * error for error in (0.02, 0.05, 0.09))[:n]
        rows.append(row(n, 1 - n / steps, replay=lags, replay_linear=lags))
    return tuple(rows)


SIGMAS = [1 - n / 12 for n in range(13)]


def letters(plan):
    return "".join("r" if reused else "c" for reused in plan)


def test_the_best_plan_keeps_below_the_threshold():
    def plan(threshold, **given):
        settings = StepCache("optimal", threshold, 0.0, 1.0, profile=profile(), **given)
        found = planned(settings, SIGMAS)
        assert found is not None
        return letters(found)

    # 0.02 + 0.05 in a row is below 0.08, three would be 0.16; in the first half one step costs 0.2.
    assert plan(0.08) == "ccccccrrcrrc"
    assert plan(0.03) in ("ccccccrcrcrc", "ccccccrcrcrc")
    assert plan(0.21).count("r") > plan(0.08).count("r")
    assert plan(0.01) == "c" * 12
    assert plan(10.0, max_consecutive=1).count("rr") == 0


def test_the_best_plan_of_so_many_steps():
    settings = StepCache("plan", plan="c", start=0.0, end=1.0)
    for computed in range(4, 13):
        assert best_plan(profile(), SIGMAS, computed, settings).count(False) == computed
    # No plan has fewer than the guards allow: of 12, three in a row and the ends.
    assert best_plan(profile(), SIGMAS, 1, settings).count(False) == 4
    assert letters(best_plan(profile(), SIGMAS, 9, settings)) == "ccccccrcrcrc"


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
