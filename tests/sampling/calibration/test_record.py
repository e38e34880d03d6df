"""What a recording run notes, by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from opent2v.base import TeaCache
from opent2v.sampling.caches import recording_run
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
