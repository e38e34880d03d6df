"""Measure step caches: record a model's profile, compare a cached run with the full one, sweep several strengths."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from ..media.compare import ComparisonError, Likeness, compare, described, table
from ..sampling import SamplerRequest, SamplingError, steps_of
from ..sampling.caches import POLICIES, CacheRequest, CacheRun, StepCache, cache_runs, planned, recording_run
from ..sampling.caches.plan import estimate
from ..sampling.caches.report import loop_seconds, summary
from ..sampling.calibration import Profile
from .inputs import PROFILE, STEP_CACHE, check_latent
from .memory import decoded
from .remarks import with_remarks
from .sample import OpenT2VSampler
from .sampling import SamplerInputs
from .step_caches import model_setup, profile_path, save_profile
from .streams import picture, same_streams

# Thresholds whose plans Calibrate Step Cache shows.
SHOWN = (0.05, 0.1, 0.2, 0.4)


def _sampler_inputs() -> tuple[dict[str, Any], dict[str, Any]]:
    """Video Sampler's own inputs, required and optional, without step cache, windows and a second run's levels."""
    declared, left_out = OpenT2VSampler.INPUT_TYPES(), ("step_cache", "windows", "sigmas")
    optional = declared["optional"]
    return declared["required"], {name: optional[name] for name in optional if name not in left_out}


class OpenT2VCalibrateCache:
    """Records what step caches need to know of a model, in one run with every step computed."""

    CATEGORY = "OpenT2V"
    FUNCTION = "calibrate"
    HAS_INTERMEDIATE_OUTPUT = True
    OUTPUT_NODE = True
    RETURN_TYPES = (PROFILE, "LATENT", "STRING")
    RETURN_NAMES = ("profile", "latent", "report")
    OUTPUT_TOOLTIPS = (
        "For Step Cache. It is saved as well, for Load Cache Profile.",
        "The finished latent of the run, the reference for Compare Step Cache.",
        "The profile's plans at some thresholds.",
    )
    DESCRIPTION = (
        "Sample once with every step computed and measure how far each step could be reused. Kept as a profile."
    )
    SEARCH_ALIASES: ClassVar = ["calibration", "teacache coefficients", "magcache ratios", "cache profile", "校准"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        required, optional = _sampler_inputs()
        name = ("STRING", {"default": "", "tooltip": "Name of the saved profile. Empty: the model's name and steps."})
        return {"required": required, "optional": optional | {"name": name}, "hidden": {"unique_id": "UNIQUE_ID"}}

    def calibrate(self, *, name: str = "", unique_id: str | None = None, **values: Any) -> dict[str, Any]:
        inputs, request = SamplerInputs.split(values)
        variant, steps = inputs.variant, steps_of(inputs.variant, request.steps)
        path = profile_path(name or re.sub(r"[^\w .+-]+", "_", f"{variant.title} {steps} steps"))
        now = model_setup(list(inputs.models), variant, request.solver, request.shift)
        recording = recording_run(variant)
        latent = inputs.sample(inputs.plan(request), recording, unique_id)
        size = " x ".join(map(str, picture(latent).shape[2:]))
        about = {"steps": steps, "cfg": request.cfg or variant.defaults.guidance, "latent": size}
        profile = Profile(now, tuple(recording.recorded), about)
        save_profile(profile, path)
        lines = [f"Saved as {path}", f"Of {now}", *_plans(profile)]
        return with_remarks((profile, latent, "\n".join(lines)), lines)


def _plans(profile: Profile) -> list[str]:
    """Plans of policy optimal at some thresholds, with Step Cache's other defaults."""
    experts = sorted({row.expert for row in profile.rows})
    lines = []
    for threshold in SHOWN:
        settings = StepCache(policy="optimal", threshold=threshold, profile=profile.rows)
        plan: list[bool] = []
        for expert in experts:
            levels = [row.sigma for row in profile.rows if row.expert == expert and row.label == "positive"]
            plan += planned(settings, [*levels, 0.0], expert) or []
        computed = len(plan) - sum(plan)
        lines.append(
            f"Policy optimal, threshold {threshold:g}: {computed} of {len(plan)} steps computed, about "
            f"{estimate(plan):.2f} x"
        )
    return lines


class OpenT2VCompareCache:
    """A cached run against the run without a cache."""

    CATEGORY = "OpenT2V"
    FUNCTION = "compare"
    HAS_INTERMEDIATE_OUTPUT = True
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "FLOAT", "FLOAT")
    RETURN_NAMES = ("report", "psnr", "ssim")
    OUTPUT_TOOLTIPS = (
        "PSNR, SSIM, motion and a verdict.",
        "Decibels; 100 where both are equal.",
        "Structural similarity, the mean of all frames.",
    )
    DESCRIPTION = "Compare a cached video with the uncached one of the same seed: PSNR, SSIM, motion, and a verdict."
    SEARCH_ALIASES: ClassVar = ["psnr", "ssim", "quality", "teacache quality", "difference", "对比"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {},
            "optional": {
                "images": ("IMAGE", {"tooltip": "Frames of the cached run."}),
                "reference_images": ("IMAGE", {"tooltip": "Frames without a cache, of the same seed."}),
                "latent": ("LATENT", {"tooltip": "The cached run's latent, where nothing is decoded."}),
                "reference_latent": ("LATENT", {"tooltip": "The latent without a cache, of the same seed."}),
            },
        }

    def compare(
        self,
        images: Tensor | None = None,
        reference_images: Tensor | None = None,
        latent: dict[str, Any] | None = None,
        reference_latent: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        pairs = {"images": (images, reference_images), "latent": (latent, reference_latent)}
        for name, (value, reference) in pairs.items():
            if (value is None) != (reference is None):
                has, lacks = (f"reference_{name}", name) if value is None else (name, f"reference_{name}")
                raise SamplingError(f"{has} is connected and {lacks} is not: both are needed. Connect it as well.")
        rows: dict[str, Likeness] = {}
        if images is not None and reference_images is not None:
            rows["frames"] = _of_images(images, reference_images)
        if latent is not None and reference_latent is not None:
            for name, *pair in same_streams(latent["samples"], reference_latent["samples"]):
                rows[name] = _likeness(*map(_frames, pair), is_pixels=False)
        if not rows:
            raise SamplingError(
                "There is nothing to compare: connect images and reference_images, or latent and reference_latent."
            )
        first = next(iter(rows.values()))
        report = table(rows)
        return with_remarks((report, min(first.psnr, 100.0), first.ssim), report.split("\n"))


def _of_images(images: Tensor, reference: Tensor) -> Likeness:
    return _likeness(images[..., :3].permute(0, 3, 1, 2), reference[..., :3].permute(0, 3, 1, 2))


def _likeness(cached: Tensor, reference: Tensor, is_pixels: bool = True) -> Likeness:
    """
    Raises:
        SamplingError: the clips cannot be compared.
    """
    if cached.shape != reference.shape:
        raise SamplingError(
            f"The cached run is {described(cached)}, the reference {described(reference)}; only runs of the same size "
            "and length can be compared. Give both samplers the same empty latent."
        )
    try:
        return compare(cached, reference, is_pixels, "cached run")
    except ComparisonError as error:
        raise SamplingError(str(error)) from error


def _frames(samples: Tensor) -> Tensor:
    """[B, C, T, h, w] or [B, C, h, w] -> [F, C, h, w]; a sound counts as one frame."""
    return samples if samples.ndim == 4 else samples.transpose(1, 2).flatten(0, 1)


class OpenT2VSweepCache:
    """One step cache at several strengths, against the full run and against fewer steps."""

    CATEGORY = "OpenT2V"
    FUNCTION = "sweep"
    HAS_INTERMEDIATE_OUTPUT = True
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "LATENT")
    RETURN_NAMES = ("report", "latent")
    OUTPUT_TOOLTIPS = ("The table.", "The latent without a cache.")
    DESCRIPTION = (
        "Sample without a cache, then with it at several strengths, and each time without it in as many steps as the "
        "cached run's time allows: speed and likeness in one table."
    )
    SEARCH_ALIASES: ClassVar = ["benchmark", "teacache threshold", "speed quality", "pareto", "对比"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        required, optional = _sampler_inputs()
        inputs = {
            "vae": ("VAE", {"tooltip": "Decodes every run: likeness is that of the frames."}),
            "step_cache": (STEP_CACHE, {"tooltip": "From Step Cache. All but its strength stays as it is."}),
            "strengths": (
                "STRING",
                {
                    "default": "0.05, 0.1, 0.2, 0.4",
                    "tooltip": "Thresholds to try; where Step Cache has a target_speedup, targets such as 1.5, 2, 3. "
                    "Each takes two runs.",
                },
            ),
        }
        return {"required": required | inputs, "optional": optional, "hidden": {"unique_id": "UNIQUE_ID"}}

    def sweep(
        self, *, vae: Any, step_cache: CacheRequest, strengths: str, unique_id: str | None = None, **values: Any
    ) -> dict[str, Any]:
        inputs, request = SamplerInputs.split(values)
        check_latent(vae, inputs.latent)
        choices = _choices(step_cache, strengths)
        steps = steps_of(inputs.variant, request.steps)
        request = replace(request, steps=steps)
        sweep = _Sweep(inputs, request, vae, unique_id)
        # Every run has the gate, so that all are timed alike, by their calls of the model.
        runs = [inputs.cache_run(choice, request) for choice in choices.values()]
        reference, whole = sweep.uncached(steps)
        frames = sweep.frames(reference)
        rows: dict[str, Likeness] = {}
        speeds: dict[str, tuple[str, ...]] = {"run": ("computed", "speed")}
        for name, run in zip(choices, runs, strict=True):
            rows[name] = _of_images(sweep.frames(sweep.sampled(request, run)), frames)
            seconds = loop_seconds(run) if run.stages else whole
            computed = summary(run).replace(" steps computed", "") if run.stages else "off"
            speeds[name] = (computed, f"{whole / seconds:.2f} x")
            fewer = max(1, round(steps * seconds / whole))
            control = f"{fewer} steps, no cache"
            if fewer < steps and control not in rows:
                latent, duration = sweep.uncached(fewer)
                rows[control] = _of_images(sweep.frames(latent), frames)
                speeds[control] = (f"{fewer} of {fewer}", f"{whole / duration:.2f} x")
        lines = [f"{steps} steps without a cache: {whole:.1f} s", *table(rows, speeds).split("\n")]
        why = {line: None for run in runs if not run.stages for settings in run.resolved for line in settings.notes}
        lines += why  # the cache was off
        return with_remarks(("\n".join(lines), reference), lines)


@dataclass(frozen=True)
class _Sweep:
    """Runs of the same inputs.

    Attributes:
        node: whose progress is shown.
    """

    inputs: SamplerInputs
    request: SamplerRequest
    vae: Any
    node: str | None

    def sampled(self, request: SamplerRequest, cache: CacheRun) -> dict[str, Any]:
        return self.inputs.sample(self.inputs.plan(request), cache, self.node)

    def uncached(self, steps: int) -> tuple[dict[str, Any], float]:
        """(LATENT, seconds) of a run of this many steps, all computed."""
        cache = cache_runs(StepCache(policy="plan", plan="1"), self.inputs.variant)()
        latent = self.sampled(replace(self.request, steps=steps), cache)
        return latent, loop_seconds(cache)

    def frames(self, latent: dict[str, Any]) -> Tensor:
        return decoded(self.vae, latent)


def _choices(step_cache: CacheRequest, strengths: str) -> dict[str, CacheRequest]:
    """Name of a row in the table -> its settings."""
    policy = POLICIES[step_cache.settings.policy]
    if not policy.has_strength:
        raise SamplingError(
            f"A sweep tries several strengths, and policy {policy.name} of the step cache has none. Choose "
            "another policy in Step Cache."
        )
    try:
        values = [float(word) for word in strengths.replace(",", " ").split()]
    except ValueError:
        values = []
    if not values or not all(math.isfinite(value) and value > 0 for value in values):
        raise SamplingError(f"strengths is {strengths!r}; expected numbers above 0, such as 0.05, 0.1, 0.2.")
    name = "target" if step_cache.target_speedup else policy.name
    return {f"{name} {value:g}": step_cache.with_strength(value) for value in values}
