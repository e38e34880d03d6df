"""Step caches on the embedded host."""

from __future__ import annotations

from dataclasses import replace

from ...sampling.caches import CacheRequest, StepCache, cache_runs
from .model import Model


def apply_step_cache(model: Model, step_cache: CacheRequest | StepCache) -> Model:
    return replace(model, step_cache=cache_runs(step_cache, model.part.variant))
