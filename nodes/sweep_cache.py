"""Measure a step cache at several strengths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from ..base.catalogue import translated
from ..base.remarks import fits, look
from ..host import host
from ..media.compare import SAME, Likeness
from ..media.finishing.fonts import FontError
from ..media.side_by_side import contact_sheet
from ..sampling import SamplerRequest, SamplingError, steps_of
from ..sampling.caches import POLICIES, CacheRequest, CacheRun, StepCache, cache_runs
from ..sampling.caches.report import loop_seconds, summary
from .calibrate_cache import measured_inputs
from .charts import CHART_TOOLTIP, picture_of, sweep_panels
from .compare_cache import drawn_table, likeness_of_images
from .inputs import STEP_CACHE, check_latent
from .memory import decoded
from .remarks import with_remarks
from .sampling import SamplerInputs

MOMENTS = 6  # frames of each run on the contact sheet


class OpenT2VSweepCache:
    """One step cache at several strengths, against the full run and against fewer steps."""

    CATEGORY = "OpenT2V"
    FUNCTION = "sweep"
    HAS_INTERMEDIATE_OUTPUT = True
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "LATENT", "IMAGE", "IMAGE")
    RETURN_NAMES = ("report", "latent", "chart", "clips")
    OUTPUT_TOOLTIPS = (
        "The table, and which run is the fastest that still shows the same content.",
        "The latent without a cache.",
        CHART_TOOLTIP,
        "A contact sheet: a line of frames for each run.",
    )
    DESCRIPTION = (
        "Sample without a cache, then with it at several strengths, and each time without it in as many steps as the "
        "cached run's time allows: speed and likeness in one table."
    )
    SEARCH_ALIASES: ClassVar = ["benchmark", "teacache threshold", "speed quality", "pareto", "对比"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        required, optional = measured_inputs()
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
        times: dict[str, float] = {}
        shown = {"without a cache": few_frames(frames)}
        speeds: dict[str, tuple[str, ...]] = {"run": ("computed", "speed")}
        for name, run in zip(choices, runs, strict=True):
            clip = sweep.frames(sweep.sampled(request, run))
            rows[name], shown[name] = likeness_of_images(clip, frames), few_frames(clip)
            seconds = loop_seconds(run) if run.stages else whole
            computed = summary(run).replace(" steps computed", "") if run.stages else "off"
            times[name] = whole / seconds
            speeds[name] = (computed, f"{times[name]:.2f} x")
            fewer = max(1, round(steps * seconds / whole))
            control = f"{fewer} steps, no cache"
            if fewer < steps and control not in rows:
                latent, duration = sweep.uncached(fewer)
                clip = sweep.frames(latent)
                rows[control], shown[control] = likeness_of_images(clip, frames), few_frames(clip)
                times[control] = whole / duration
                speeds[control] = (f"{fewer} of {fewer}", f"{times[control]:.2f} x")
        lines: list[str] = [f"{steps} steps without a cache: {whole:.1f} s", drawn_table(rows, speeds)]
        why = {line: None for run in runs if not run.stages for settings in run.resolved for line in settings.notes}
        lines += map(look, why)  # the cache was off
        chosen = fastest(times, rows)
        if chosen is not None:
            lines.insert(2, fits(f"The fastest with the same content ({SAME:g} dB or more): {chosen}"))
        chart = picture_of(
            f"{inputs.variant.title}, {steps} steps: speed against likeness", sweep_panels(times, rows, chosen)
        )
        sheet = _sheet(shown)
        return with_remarks(("\n".join(lines), reference, chart, sheet), lines)


def fastest(speeds: Mapping[str, float], rows: Mapping[str, Likeness]) -> str | None:
    """The fastest run whose content is that of the run without a cache; None where none is faster."""
    alike = [name for name, row in rows.items() if row.psnr >= SAME and speeds[name] > 1]
    return max(alike, key=lambda name: speeds[name], default=None)


def _sheet(clips: Mapping[str, Tensor]) -> Tensor:
    """The contact sheet, its names in the page's language where a font has the letters."""
    frames, fonts, language = list(clips.values()), tuple(host.model_roots("fonts")), host.language()
    try:
        return contact_sheet(frames, [translated(name, language) for name in clips], MOMENTS, fonts)
    except FontError:
        return contact_sheet(frames, list(clips), MOMENTS, fonts)


def few_frames(clip: Tensor) -> Tensor:
    """The frames of a clip [F, H, W, 3] that the contact sheet shows, at equal distances."""
    count = min(MOMENTS, len(clip))
    return clip[[round(index * (len(clip) - 1) / max(count - 1, 1)) for index in range(count)]].clone()


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
