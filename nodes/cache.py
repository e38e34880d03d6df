"""Step caches: a setting for the sampler, or for a MODEL that any sampler runs."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import host
from ..sampling.caches import DEVICES, POLICIES, PREDICTORS, StepCache

STEP_CACHE = "OPENT2V_STEP_CACHE"


class OpenT2VStepCache:
    """Settings of a step cache."""

    CATEGORY = "OpenT2V"
    FUNCTION = "choose"
    RETURN_TYPES = (STEP_CACHE,)
    RETURN_NAMES = ("step_cache",)
    OUTPUT_TOOLTIPS = ("For Video Sampler or Apply Step Cache.",)
    DESCRIPTION = (
        "Speeds sampling up: in some steps the last result of the model's blocks stands in for computing them. Costs "
        "detail; not for models of few steps."
    )
    SEARCH_ALIASES: ClassVar = ["teacache", "easycache", "magcache", "first block cache", "speed up", "skip steps"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        def number(default: float, high: float, step: float, tooltip: str) -> tuple[str, dict[str, Any]]:
            return ("FLOAT", {"default": default, "min": 0.0, "max": high, "step": step, "tooltip": tooltip})

        own = StepCache()
        return {
            "required": {
                "policy": (
                    list(POLICIES),
                    {
                        "default": own.policy,
                        "tooltip": "Who decides. easycache and first block: measured in the run, for every model. "
                        "teacache: official coefficients, where they exist. magcache, plan: as the plan says.",
                    },
                ),
                "threshold": number(
                    own.threshold,
                    10.0,
                    0.005,
                    "Relative change that may add up before a step is computed again. Higher: faster, less like the "
                    "full run. 0: off.",
                ),
                "start": number(own.start, 1.0, 0.01, "Share of the steps at the beginning that are all computed."),
                "end": number(own.end, 1.0, 0.01, "Share of the steps from which on all are computed."),
                "max_consecutive": (
                    "INT",
                    {
                        "default": own.max_consecutive,
                        "min": 1,
                        "max": 100,
                        "tooltip": "Most steps in a row that may be reused.",
                    },
                ),
                "predictor": (
                    list(PREDICTORS),
                    {
                        "default": own.predictor,
                        "tooltip": "last: the blocks' last result again. linear: carries on from the last two; twice "
                        "the memory.",
                    },
                ),
                "device": (
                    list(DEVICES),
                    {"default": own.device, "tooltip": "Where results are kept. cpu: saves GPU memory, slower."},
                ),
                "memory": number(
                    own.memory, 4096.0, 0.5, "GiB that may be kept. Steps whose results do not fit are computed."
                ),
            },
            "optional": {
                "plan": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "For plan: n (every n-th step is computed) or letters such as ccccrcrrc (c "
                        "computed, r reused). For magcache: ratios. Else unused.",
                    },
                ),
            },
        }

    def choose(self, **settings: Any) -> tuple[StepCache]:
        return (StepCache(**settings),)


class OpenT2VApplyStepCache:
    """A MODEL whose runs are under a step cache."""

    CATEGORY = "OpenT2V"
    FUNCTION = "apply"
    RETURN_TYPES = ("MODEL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The MODEL for KSampler and other samplers.",)
    DESCRIPTION = "Puts a step cache on a MODEL, for KSampler and every other sampler. The log tells what was reused."
    SEARCH_ALIASES: ClassVar = ["teacache", "easycache", "cache model", "speed up"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "A video model, ours or of ComfyUI's own loaders."}),
                "step_cache": (STEP_CACHE, {"tooltip": "From Step Cache. It takes the place of an earlier one."}),
            }
        }

    def apply(self, model: Any, step_cache: StepCache) -> tuple[Any]:
        return (host.apply_step_cache(model, step_cache),)
