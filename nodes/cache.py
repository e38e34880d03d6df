"""Step caches: a setting for the sampler, or for a MODEL that any sampler runs, and the profiles they go by."""

from __future__ import annotations

from typing import Any, ClassVar

from ..host import host
from ..sampling import SamplingError
from ..sampling.caches import AUTO, BOUNDARIES, DEVICES, POLICIES, PREDICTORS, TARGETS, CacheRequest, StepCache
from ..sampling.calibration import Profile
from .inputs import PROFILE, STEP_CACHE, number
from .remarks import with_remarks
from .shared import files_state
from .step_caches import checked, profiles


class OpenT2VStepCache:
    """Settings of a step cache."""

    CATEGORY = "OpenT2V"
    FUNCTION = "choose"
    RETURN_TYPES = (STEP_CACHE,)
    RETURN_NAMES = ("step_cache",)
    OUTPUT_TOOLTIPS = ("For Video Sampler or Apply Step Cache.",)
    DESCRIPTION = (
        "Speeds sampling up: in some steps what the model has answered before stands in for computing it. Costs "
        "detail; runs of ten steps and fewer are left alone."
    )
    SEARCH_ALIASES: ClassVar = [
        "teacache",
        "easycache",
        "magcache",
        "first block cache",
        "speed up",
        "skip steps",
        "cache",
        "加速",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        defaults = StepCache()
        return {
            "required": {
                "policy": (
                    [*POLICIES, AUTO],
                    {
                        "default": defaults.policy,
                        "tooltip": "Who decides. easycache, seacache, first block: measured in the run, for every "
                        "model. teacache: official coefficients, where they exist. optimal: the best plan by a "
                        "profile. magcache, plan: as the plan says. auto: by the profile, else what suits any model.",
                    },
                ),
                "threshold": number(
                    defaults.threshold,
                    0.0,
                    10.0,
                    0.005,
                    "Relative change that may add up before a step is computed again. Higher: faster, less like the "
                    "full run. 0: off.",
                ),
                "start": number(
                    defaults.start,
                    0.0,
                    1.0,
                    0.01,
                    "Share of the steps at the beginning that are all computed.",
                    advanced=True,
                ),
                "end": number(
                    defaults.end, 0.0, 1.0, 0.01, "Share of the steps from which on all are computed.", advanced=True
                ),
                "max_consecutive": (
                    "INT",
                    {
                        "advanced": True,
                        "default": defaults.max_consecutive,
                        "min": 1,
                        "max": 100,
                        "tooltip": "Most steps in a row that may be reused.",
                    },
                ),
                "predictor": (
                    list(PREDICTORS),
                    {
                        "advanced": True,
                        "default": defaults.predictor,
                        "tooltip": "What stands in. last: the last result again. linear: carries on from the last "
                        "two; twice the memory, mostly closer.",
                    },
                ),
                "device": (
                    list(DEVICES),
                    {
                        "advanced": True,
                        "default": defaults.device,
                        "tooltip": "Where results are kept. model: beside the model. cpu: saves GPU memory, slower.",
                    },
                ),
                "memory": number(
                    defaults.memory,
                    0.0,
                    4096.0,
                    0.5,
                    "GiB that may be kept. Steps whose results do not fit are computed.",
                    advanced=True,
                ),
            },
            "optional": {
                "plan": (
                    "STRING",
                    {
                        "advanced": True,
                        "default": "",
                        "tooltip": "For plan: n (every n-th step is computed) or letters such as ccccrcrrc (c "
                        "computed, r reused). For magcache: ratios. Else unused.",
                    },
                ),
                "target_speedup": number(
                    0.0,
                    0.0,
                    TARGETS[1],
                    0.05,
                    "How many times as fast sampling is to be: finds the plan, or magcache's threshold. For auto, "
                    "optimal and magcache. 0: the threshold counts.",
                ),
                "few_steps": (
                    "BOOLEAN",
                    {
                        "advanced": True,
                        "default": False,
                        "tooltip": "Use the cache in runs of ten steps and fewer as well. They have little to reuse.",
                    },
                ),
                "profile": (
                    PROFILE,
                    {"tooltip": "What Calibrate Step Cache has measured of this model, for auto, optimal, magcache."},
                ),
                "boundary": (
                    list(BOUNDARIES),
                    {
                        "advanced": True,
                        "default": defaults.boundary,
                        "tooltip": "What is kept and not computed. model: the whole model's answer, which is small. "
                        "blocks: what its blocks add; first block and teacache always keep this.",
                    },
                ),
            },
        }

    def choose(self, policy: str, profile: Profile | None = None, **settings: Any) -> tuple[CacheRequest]:
        return (CacheRequest.of(policy, profile, **settings),)


class OpenT2VApplyStepCache:
    """A MODEL whose runs are under a step cache."""

    CATEGORY = "OpenT2V"
    FUNCTION = "apply"
    RETURN_TYPES = ("MODEL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The MODEL for KSampler and other samplers.",)
    DESCRIPTION = "Puts a step cache on a MODEL, for KSampler and every other sampler. The log tells what was reused."
    SEARCH_ALIASES: ClassVar = ["teacache", "easycache", "cache model", "speed up", "magcache", "加速"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "A video model, ours or of ComfyUI's own loaders."}),
                "step_cache": (STEP_CACHE, {"tooltip": "From Step Cache. It takes the place of an earlier one."}),
            }
        }

    def apply(self, model: Any, step_cache: CacheRequest) -> tuple[Any]:
        return (host.apply_step_cache(model, checked(step_cache, [model], host.variant(model))),)


class OpenT2VLoadCacheProfile:
    """A profile that Calibrate Step Cache has saved."""

    CATEGORY = "OpenT2V"
    FUNCTION = "load"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = (PROFILE,)
    RETURN_NAMES = ("profile",)
    OUTPUT_TOOLTIPS = ("For Step Cache.",)
    DESCRIPTION = "Load what Calibrate Step Cache has measured of a model. It is refused for any other."
    SEARCH_ALIASES: ClassVar = ["calibration", "cache profile", "magcache ratios", "校准"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = list(profiles()) or ["run Calibrate Step Cache first"]
        return {
            "required": {
                "file": (names, {"default": names[0], "tooltip": "A profile on this machine. R reads the list anew."})
            }
        }

    @classmethod
    def IS_CHANGED(cls, file: str) -> str:
        path = profiles().get(file)
        return files_state(path) if path else ""

    def load(self, file: str) -> dict[str, Any]:
        path = profiles().get(file)
        if path is None:
            raise SamplingError(
                f"The profile {file!r} is not there (any more). Run Calibrate Step Cache, and press R to refresh the "
                "list."
            )
        profile = Profile.from_json(path.read_text(encoding="utf-8"), path.name)
        about = ", ".join(f"{name} {value}" for name, value in profile.about.items())
        return with_remarks((profile,), [f"Of {profile.setup}", *([about] if about else [])])
