"""Step caches: in some steps a prediction stands in for a transformer's blocks."""

from __future__ import annotations

from collections.abc import Callable

from ...families import Variant
from .policies import maker
from .run import CacheRun, Part, Stage
from .settings import DEVICES, POLICIES, PREDICTORS, StepCache

__all__ = ["DEVICES", "POLICIES", "PREDICTORS", "CacheRun", "Part", "Stage", "StepCache", "cache_runs"]


def cache_runs(settings: StepCache, variant: Variant | None) -> Callable[[], CacheRun]:
    """What makes a fresh run for a model.

    Raises:
        SamplingError: TeaCache is asked for and the model has no coefficients.
    """
    policy = maker(settings, variant)
    return lambda: CacheRun(settings, policy)
