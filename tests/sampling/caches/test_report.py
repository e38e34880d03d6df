"""What the user reads after a run, with times that a person can add up."""

from __future__ import annotations

import pytest

from opent2v.sampling.caches import report
from opent2v.tests.sampling.caches.doubling import NEGATIVE, POSITIVE, Model, cache, full, walk


def timed(computed: float, reused: float, plan: str = "ccrrrrcrrc"):
    """A run of two conditions, whose steps took so many seconds."""
    run = cache(plan=plan, max_consecutive=9)
    walk(Model(), run, [full(1, 2)] * len(plan), (NEGATIVE, POSITIVE))
    for call in run.stages[0].calls:
        call.seconds = (computed if call.computed else reused) / 2
    return run


def test_the_speed_is_that_of_the_loop():
    run = timed(2.0, 0.5)
    # 4 steps of 2 s and 6 of half a second, in place of 10 of 2 s
    assert report.speedup(run) == pytest.approx(20 / 11)
    assert report.loop_seconds(run) == pytest.approx(11)
    line = "2.00 s a computed step, 500.0 ms a reused one: sampling about 1.82 x as fast as without"
    assert line in report.remarks(run)
    assert report.details(run)["seconds"] == {"computed": 2.0, "reused": 0.5}


def test_a_slow_first_step_does_not_count():
    run = timed(2.0, 0.5)
    for call in run.stages[0].calls[:2]:
        call.seconds = 50.0
    assert report.speedup(run) == pytest.approx(20 / 11)


def test_without_a_reused_step_there_is_no_speed():
    run = timed(2.0, 0.5, "cccc")
    assert report.seconds(run, False) is None and report.loop_seconds(run) == pytest.approx(8)
    assert not any("as fast as without" in line for line in report.remarks(run))
