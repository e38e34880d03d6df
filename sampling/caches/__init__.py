"""Step caches: in some steps a prediction replaces the output of a transformer's blocks."""

from __future__ import annotations

from .plan import best_plan, planned
from .request import AUTO, TARGETS, CacheRequest
from .run import CacheRun, cache_runs, recording_run
from .settings import BOUNDARIES, DEVICES, POLICIES, PREDICTORS, Policy, StepCache
from .stage import BatchItem, CachedStage, Call

__all__ = [
    "AUTO",
    "BOUNDARIES",
    "DEVICES",
    "POLICIES",
    "PREDICTORS",
    "TARGETS",
    "BatchItem",
    "CacheRequest",
    "CacheRun",
    "CachedStage",
    "Call",
    "Policy",
    "StepCache",
    "best_plan",
    "cache_runs",
    "planned",
    "recording_run",
]
