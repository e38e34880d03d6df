"""Step caches on the embedded host."""

from __future__ import annotations

from dataclasses import replace

from ...sampling.caches import CacheRequest, StepCache, cache_runs
from .model import Model


def apply_step_cache(model: Model, step_cache: CacheRequest | StepCache) -> Model:
    """A MODEL whose runs are under a step cache, in place of one that it may have had.

    Raises:
        sampling.SamplingError: TeaCache is asked for and the model has no coefficients.
    """
    return replace(model, step_cache=cache_runs(step_cache, model.part.variant))
