"""How tensors change from step to step."""

from __future__ import annotations

from torch import Tensor


def relative_change(new: Tensor, old: Tensor) -> Tensor:
    """Relative L1 distance, a number on the tensors' device."""
    return (new - old).abs().mean() / old.abs().mean()


def extrapolated(sigma: float, last: tuple[float, Tensor], before: tuple[float, Tensor]) -> Tensor:
    """The line through the results of two computed steps, (sigma, result) each, at `sigma`.

    Never further beyond the last one than those two are apart, as a straight line leads astray there.
    """
    distance = (sigma - last[0]) / (last[0] - before[0])
    return before[1].lerp(last[1], 1 + min(max(distance, 0.0), 1.0))
