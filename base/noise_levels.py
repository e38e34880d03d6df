"""Noise schedules that several models share: shares of noise, falling from 1, without the final 0."""

from __future__ import annotations

from collections.abc import Sequence


def straight(steps: int) -> list[float]:
    """Equal parts.

    >>> straight(4)
    [1.0, 0.75, 0.5, 0.25]
    """
    return [(steps - n) / steps for n in range(steps)]


def shifted(levels: Sequence[float], shift: float) -> list[float]:
    """Shifted levels: a larger shift puts more steps at high noise; 1 leaves the levels as they are.

    Source: Esser et al. 2024, arXiv:2403.03206, equation 23.

    >>> shifted([1.0, 0.75, 0.5, 0.25], 3.0)
    [1.0, 0.9, 0.75, 0.5]
    """
    return [shift * level / (1 + (shift - 1) * level) for level in levels]


def linear_quadratic(steps: int, threshold: float = 0.025) -> list[float]:
    """Half of the steps down to 1 - threshold in equal parts, the other half quadratically on to 0.

    Source: genmoai/mochi, src/mochi_preview/infer.py, and Lightricks/LTX-Video, ltx_video/schedulers/rf.py, both
    linear_quadratic_schedule.
    """
    if steps == 1:
        return [1.0]
    half = steps // 2
    rest = steps - half
    missing = half - threshold * steps
    square = missing / (half * rest**2)
    slope = threshold / half - 2 * missing / rest**2
    walked = [n * threshold / half for n in range(half)]
    walked += [square * n**2 + slope * n + square * half**2 for n in range(half, steps)]
    return [1 - share for share in walked]
