"""Shared by nodes with step caches: new runs, reports before a run, and the files of saved profiles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..base import Variant
from ..base.remarks import prefixed
from ..host import host
from ..sampling import SamplingError, own_shift, scheduler_class
from ..sampling.caches import CacheRequest, CacheRun, cache_runs
from ..sampling.caches.report import EXPERTS, preview
from ..sampling.calibration import ModelSetup, Profile


def model_setup(
    models: list[Any], variant: Variant | None, solver: str | None = None, shift: float | None = None
) -> ModelSetup:
    """The models and settings that a profile must match; without a solver, another sampler makes the steps."""
    weights, loras = zip(*(host.fingerprint(model) for model in models), strict=True)
    title = variant.title if variant else "this MODEL"
    if variant is None or solver is None:
        return ModelSetup(title, weights, loras)
    scheduler = scheduler_class(variant.scheduler, solver, variant.prediction)
    return ModelSetup(title, weights, loras, scheduler, shift or own_shift(variant.scheduler))


def checked(
    step_cache: CacheRequest,
    models: list[Any],
    variant: Variant | None,
    solver: str | None = None,
    shift: float | None = None,
) -> CacheRequest:
    """The request with the rows of its profile for these models; without a solver, another sampler makes the steps.

    Raises:
        SamplingError: the profile is of something else.
    """
    if step_cache.source is None:
        return step_cache
    return step_cache.for_models(model_setup(models, variant, solver, shift))


def cache_run(step_cache: CacheRequest, models: list[Any], variant: Variant, solver: str, shift: float) -> CacheRun:
    """A fresh run under a step cache, of steps of ours."""
    return cache_runs(checked(step_cache, models, variant, solver, shift), variant)()


def foreseen(cache: CacheRun, experts: Sequence[Sequence[float]]) -> list[str]:
    """The report of a step cache before its run.

    Args:
        experts: sigmas [steps + 1] of each of the run's models.
    """
    lines = []
    for expert, sigmas in enumerate(experts):
        if len(sigmas) > 1:
            expected = preview(cache.request.resolve(sigmas, expert), sigmas, expert)
            lines += [prefixed(EXPERTS[expert], line) for line in expected] if len(experts) > 1 else expected
    return lines


def profiles() -> dict[str, Path]:
    """Saved profiles by their name in a combo."""
    return {path.stem: path for path in sorted(host.profile_folder().glob("*.json"))}


def profile_path(name: str) -> Path:
    """Path for a profile of this name, with a number added where the name is taken.

    Raises:
        SamplingError: the name cannot be one of a file.
    """
    if not re.fullmatch(r"\w[\w .+-]{0,99}", name):
        raise SamplingError(f"A profile cannot be called {name!r}: use letters, digits, spaces, . + - and _.")
    taken = profiles()
    names = [name, *(f"{name}_{number}" for number in range(2, len(taken) + 2))]
    return host.profile_folder() / f"{next(free for free in names if free not in taken)}.json"


def save_profile(profile: Profile, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(profile.to_json(), encoding="utf-8")
    unfinished.replace(path)
