"""Noise levels that several families walk."""

from __future__ import annotations

import pytest

from opent2v.base.noise_levels import linear_quadratic, shifted, straight


def test_a_shift_of_one_leaves_the_straight_line():
    assert shifted(straight(5), 1.0) == straight(5) == [1.0, 0.8, 0.6, 0.4, 0.2]


def test_a_shift_takes_the_middle_up_and_keeps_the_start():
    levels = shifted(straight(4), 3.0)
    assert levels == pytest.approx([1.0, 0.9, 0.75, 0.5])
    # s u / (1 + (s - 1) u) and its inverse, the same with 1 / s
    assert shifted(levels, 1 / 3) == pytest.approx(straight(4))


@pytest.mark.parametrize("steps", [2, 5, 8, 64])
def test_linear_quadratic_has_its_threshold_in_the_middle(steps):
    levels = linear_quadratic(steps)
    assert len(levels) == steps and levels[0] == 1.0
    assert levels == sorted(levels, reverse=True) and levels[-1] > 0
    assert levels[steps // 2] == pytest.approx(1 - 0.025)


def test_one_step_starts_from_noise():
    assert linear_quadratic(1) == straight(1) == [1.0]
