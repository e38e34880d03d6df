"""Step caches: in some steps a prediction stands in for a transformer's blocks."""

from __future__ import annotations

from collections.abc import Callable

from ...base import Variant
from .plan import Recorded, best_plan, planned
from .policies import maker
from .run import CacheRun, recording_run
from .settings import BOUNDARIES, DEVICES, POLICIES, PREDICTORS, StepCache
from .stage import Call, Part, Stage

__all__ = [
    "BOUNDARIES",
    "DEVICES",
    "POLICIES",
    "PREDICTORS",
    "CacheRun",
    "Call",
    "Part",
    "Recorded",
    "Stage",
    "StepCache",
    "best_plan",
    "cache_runs",
    "planned",
    "recording_run",
]


def cache_runs(settings: StepCache, variant: Variant | None) -> Callable[[], CacheRun]:
    """What makes a fresh run for a model.

    Raises:
        SamplingError: TeaCache is asked for and the model has no coefficients.
    """
    maker(settings, variant)
    return lambda: CacheRun(settings, variant)
