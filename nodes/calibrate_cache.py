"""Record what step caches need to know of a model, as a profile."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from ..base.remarks import Remark
from ..sampling import steps_of
from ..sampling.caches import StepCache, planned, recording_run
from ..sampling.caches.plan import estimate, mask_text
from ..sampling.caches.report import EXPERTS
from ..sampling.calibration import Profile
from .charts import CHART_TOOLTIP, picture_of, profile_panels
from .inputs import PROFILE
from .remarks import with_remarks
from .sample import OpenT2VSampler
from .sampling import SamplerInputs
from .step_caches import model_setup, profile_path, save_profile
from .streams import picture

# Thresholds whose plans Calibrate Step Cache shows.
SHOWN = (0.05, 0.1, 0.2, 0.4)


def measured_inputs() -> tuple[dict[str, Any], dict[str, Any]]:
    """Video Sampler's own inputs, required and optional, without step cache, windows, sigmas and keep."""
    declared, left_out = OpenT2VSampler.INPUT_TYPES(), ("step_cache", "windows", "sigmas", "keep", "seeds")
    optional = declared["optional"]
    return declared["required"], {name: optional[name] for name in optional if name not in left_out}


class OpenT2VCalibrateCache:
    """Records what step caches need to know of a model, in one run with every step computed."""

    CATEGORY = "OpenT2V"
    FUNCTION = "calibrate"
    HAS_INTERMEDIATE_OUTPUT = True
    OUTPUT_NODE = True
    RETURN_TYPES = (PROFILE, "LATENT", "STRING", "IMAGE")
    RETURN_NAMES = ("profile", "latent", "report", "chart")
    OUTPUT_TOOLTIPS = (
        "For Step Cache. It is saved as well, for Load Cache Profile.",
        "The finished latent of the run, the reference for Compare Step Cache.",
        "The profile's plans at some thresholds.",
        CHART_TOOLTIP,
    )
    DESCRIPTION = (
        "Sample once with every step computed and measure how far each step could be reused. Kept as a profile."
    )
    SEARCH_ALIASES: ClassVar = ["calibration", "teacache coefficients", "magcache ratios", "cache profile", "校准"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        required, optional = measured_inputs()
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
        plans = _plans(profile)
        lines = [f"Saved as {path}", f"Of {now}", *plans]
        title = f"Step cache profile of {variant.title}, {steps} steps"
        chart = picture_of(title, profile_panels(profile, _strips(plans)))
        return with_remarks((profile, latent, "\n".join(lines), chart), lines)


def _strips(plans: list[Remark]) -> dict[str, str]:
    """Threshold -> the steps of its plan, all experts in a row."""
    steps = ("".join(part["steps"] for part in plan.drawing["plans"]) for plan in plans)
    return dict(zip((f"threshold {threshold:g}" for threshold in SHOWN), steps, strict=True))


def _plans(profile: Profile) -> list[Remark]:
    """Plans of policy optimal at some thresholds, with Step Cache's other defaults."""
    experts = sorted({row.expert for row in profile.rows})
    lines: list[Remark] = []
    for threshold in SHOWN:
        settings = StepCache(policy="optimal", threshold=threshold, profile=profile.rows)
        plan: list[bool] = []
        strips = []
        for expert in experts:
            levels = [row.sigma for row in profile.rows if row.expert == expert and row.label == "positive"]
            part = planned(settings, [*levels, 0.0], expert) or []
            label = EXPERTS[expert] if len(experts) > 1 else ""
            strips.append({"label": label, "steps": mask_text(part)})
            plan += part
        computed = len(plan) - sum(plan)
        text = (
            f"Policy optimal, threshold {threshold:g}: {computed} of {len(plan)} steps computed, about "
            f"{estimate(plan):.2f} x"
        )
        lines.append(Remark(text, plans=strips))
    return lines
