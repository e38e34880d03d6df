"""A recorded run read between its noise levels."""

from __future__ import annotations

import itertools

import pytest

from opent2v.sampling import SamplingError
from opent2v.sampling.calibration import Curve, Recorded

LEVELS = (1.0, 0.8, 0.6, 0.4)
GAMMAS = (None, 0.5, 0.8, 0.4)
REPLAYS = ((), (0.2,), (0.4, 0.6), (0.8, 1.0, 1.8))


def curve() -> Curve:
    rows = zip(LEVELS, GAMMAS, REPLAYS, strict=True)
    return Curve(
        [
            Recorded(0, "positive", n, sigma, 0.1, gamma, replay=replay, replay_linear=tuple(x / 2 for x in replay))
            for n, (sigma, gamma, replay) in enumerate(rows)
        ],
        0,
    )


def test_the_size_goes_evenly_between_levels():
    # Sizes 1, 0.5, 0.4 and 0.16 are recorded. Halfway between the first two levels it is the root of 0.5; a quarter
    # above 0.6 three quarters of the way from 0.5 to 0.4; below the last level that level's.
    ratios = curve().ratios([1.0, 0.9, 0.65, 0.5, 0.2, 0.0])
    sizes = [1.0, 0.5**0.5, 0.5 * 0.8**0.75, 0.4 * 0.4**0.5, 0.16]
    assert ratios == pytest.approx([1.0] + [new / old for old, new in itertools.pairwise(sizes)])


@pytest.mark.parametrize(
    ("sigma", "distance", "error"),
    [
        (0.8, 0.2, 0.2),  # as recorded
        (0.6, 0.4, 0.6),
        (0.4, 0.6, 1.8),
        (0.8, 0.1, 0.1),  # half the distance
        (0.6, 0.3, 0.5),  # between one step and two
        (0.4, 0.5, 1.4),
        (0.8, 0.4, 0.4),  # further than recorded: the last line goes on
        (0.7, 0.2, 0.3),  # halfway between two levels
        (0.65, 0.2, 0.35),  # three quarters of the way
        (0.45, 0.2, 0.7),
        (0.95, 0.2, 0.2),  # above the first level with a step before it
        (0.1, 0.2, 0.8),  # below the last one
    ],
)
def test_an_error_between_levels_and_lags(sigma, distance, error):
    assert curve().error("last", sigma, distance) == pytest.approx(error)
    assert curve().error("linear", sigma, distance) == pytest.approx(error / 2)


def test_an_error_costs_the_run_its_share_of_the_noise():
    sigmas = [0.9, 0.7, 0.65, 0.4, 0.0]
    errors = curve().errors("last", sigmas)
    assert errors(1, 0) == pytest.approx((0.3, 0.3 * 0.05))
    assert errors(2, 0) == pytest.approx((0.25 * 0.25 + 0.75 * 0.45, 0.4 * 0.25))


def test_ratios_carry_over_to_other_steps():
    sigmas = [1 - n / 10 for n in range(11)]
    curve = Curve(
        [Recorded(0, "positive", n, sigma, 0.1, 0.9 if n else None) for n, sigma in enumerate(sigmas[:-1])], 0
    )
    assert curve.ratios(sigmas) == pytest.approx([1] + [0.9] * 9)
    # Half as many steps: each is two of the recorded ones.
    assert curve.ratios(sigmas[::2]) == pytest.approx([1] + [0.81] * 4)
    with pytest.raises(
        SamplingError, match=r"^The step cache's profile holds 0 steps of model 2; at least 2 are needed"
    ):
        Curve(curve.rows, 1)
