"""Interpolation of a recorded run in its noise level, so that it serves runs with other steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from ..errors import SamplingError
from .recorded import Recorded

# (step, last computed step) -> (error of reusing the step, its cost for the run)
Errors = Callable[[int, int], tuple[float, float]]


class Curve:
    """Values of a recorded run for one model and the positive prompt, interpolated in the noise level.

    Raises:
        SamplingError: fewer than two steps of that model.
    """

    def __init__(self, rows: Sequence[Recorded], expert: int):
        positive = [row for row in rows if row.label == "positive" and row.expert == expert]
        # Second-order samplers evaluate some levels twice; one row per level is kept.
        self.rows = sorted({row.sigma: row for row in positive}.values(), key=lambda row: -row.sigma)
        self.levels = [row.sigma for row in self.rows]
        if len(self.rows) < 2:
            raise SamplingError(
                f"The step cache's profile holds {len(self.rows)} steps of model {expert + 1}; at least 2 are needed. "
                "Make it with the sampler, the models and the prompts of this run."
            )

    def ratios(self, sigmas: Sequence[float]) -> list[float]:
        """For each step, the norm of the blocks' residual relative to the step before.

        Args:
            sigmas: [steps + 1]. Between recorded levels the norm's logarithm is interpolated linearly.
        """
        logs = [0.0]
        for row in self.rows[1:]:
            logs.append(logs[-1] + (math.log(row.gamma) if row.gamma else 0.0))
        sizes = [_interpolated(self.levels, logs, sigma) for sigma in sigmas[:-1]]
        return [1.0, *(math.exp(new - old) for old, new in pairwise(sizes))]

    def errors(self, predictor: str, sigmas: Sequence[float]) -> Errors:
        """The errors of reusing results in a run of these sigmas [steps + 1], see `Errors`."""

        def error(step: int, since: int) -> tuple[float, float]:
            size = self.error(predictor, sigmas[step], sigmas[since] - sigmas[step])
            return size, size * (sigmas[step] - sigmas[step + 1])

        return error

    def error(self, predictor: str, sigma: float, distance: float) -> float:
        """Relative error of a result that is reused at `sigma` and was computed at `sigma + distance`."""
        levels, last = self.levels, len(self.levels) - 1
        # The first recorded step has no error, since no step comes before it.
        below = min(max(next((n for n, level in enumerate(levels) if level <= sigma), last), 1), last)
        above = max(below - 1, 1)
        share = (levels[above] - sigma) / (levels[above] - levels[below]) if above != below else 0.0
        share = min(max(share, 0.0), 1.0)
        errors = [self._error_at(n, predictor, distance) for n in (above, below)]
        return (1 - share) * errors[0] + share * errors[1]

    def _error_at(self, n: int, predictor: str, distance: float) -> float:
        """The error at a recorded level, interpolated linearly between the lags."""
        row, levels = self.rows[n], self.levels
        errors = (row.replay if predictor == "last" else row.replay_linear) or row.replay
        xs = [0.0, *(levels[n - 1 - lag] - levels[n] for lag in range(len(errors)))]
        ys = [0.0, *errors]
        at = next((k for k in range(1, len(xs)) if distance <= xs[k]), len(xs) - 1)
        slope = (ys[at] - ys[at - 1]) / (xs[at] - xs[at - 1])
        return max(ys[at] + slope * (distance - xs[at]), 0.0)


def _interpolated(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Linear interpolation over falling `xs`, constant outside."""
    if x >= xs[0]:
        return ys[0]
    for n in range(1, len(xs)):
        if x >= xs[n]:
            return ys[n - 1] + (ys[n] - ys[n - 1]) * (xs[n - 1] - x) / (xs[n - 1] - xs[n])
    return ys[-1]
