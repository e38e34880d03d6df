"""The sampler."""

from __future__ import annotations

from typing import Any, ClassVar

from ..host import host
from ..sampling import SOLVERS, describe
from ..sampling.caches import CacheRequest
from ..sampling.caches.report import remarks
from ..sampling.describe import saved_calls
from .guidance import GUIDANCE
from .inputs import STEP_CACHE, WINDOWS
from .remarks import with_remarks
from .sampling import SamplerInputs
from .step_caches import foreseen


class OpenT2VSampler:
    """Turns noise into a video latent, the way the model's makers do it."""

    CATEGORY = "OpenT2V"
    FUNCTION = "sample"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("LATENT", "STRING")
    RETURN_NAMES = ("latent", "report")
    OUTPUT_TOOLTIPS = ("The finished latent, for a decode node.", "What was sampled, and what a step cache did.")
    DESCRIPTION = "Sample a video. Steps, cfg, shift and solver at 0 or reference are the model's own."
    SEARCH_ALIASES: ClassVar = [
        "ksampler",
        "video sampler",
        "denoise",
        "wan sampler",
        "text to video",
        "txt2vid",
        "t2v",
        "video generation",
        "generate video",
        "文生视频",
        "生成视频",
        "采样器",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The video model."}),
                "positive": ("CONDITIONING", {"tooltip": "What the video shows."}),
                "negative": ("CONDITIONING", {"tooltip": "What it avoids; unused at cfg 1."}),
                "latent": ("LATENT", {"tooltip": "Empty latent, or one to start from with denoise below 1."}),
                "seed": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 0xFFFFFFFFFFFFFFFF,
                        "control_after_generate": True,
                        "tooltip": "Same seed, same video. The noise is the same on every machine.",
                    },
                ),
                "steps": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 1000,
                        "tooltip": "More steps: finer, slower. 0: the model's own.",
                    },
                ),
                "cfg": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 100.0,
                        "step": 0.1,
                        "tooltip": "How closely the prompt is followed; too high burns colours. 1: off, twice as "
                        "fast. 0: the model's own.",
                    },
                ),
                "shift": (
                    "FLOAT",
                    {
                        "advanced": True,
                        "default": 0.0,
                        "min": 0.0,
                        "max": 100.0,
                        "step": 0.1,
                        "tooltip": "Larger: more steps on layout and motion, fewer on detail. 0: the model's own.",
                    },
                ),
                "solver": (
                    list(SOLVERS),
                    {
                        "advanced": True,
                        "default": "reference",
                        "tooltip": "reference: the scheduler the model's folder names.",
                    },
                ),
                "denoise": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.01,
                        "max": 1.0,
                        "step": 0.01,
                        "tooltip": "1: a new video. Below: keep that much less of the change, for video to video.",
                    },
                ),
            },
            "optional": {
                "low_noise_model": (
                    "MODEL",
                    {
                        "tooltip": "The second expert of a model with two (Wan 2.2 A14B); it makes the last, finer "
                        "steps."
                    },
                ),
                "guidance": (
                    GUIDANCE,
                    {"tooltip": "From Video Guidance: how the run is guided beyond one cfg for all steps."},
                ),
                "step_cache": (
                    STEP_CACHE,
                    {"tooltip": "From Step Cache: faster, with a little less detail. The node says what was reused."},
                ),
                "windows": (
                    WINDOWS,
                    {"tooltip": "From Video Windows: a video longer than the model was trained for."},
                ),
                "sigmas": (
                    "STRING",
                    {
                        "advanced": True,
                        "default": "",
                        "tooltip": "The noise levels to walk, falling, with commas, in place of steps, shift and "
                        "denoise. LTX-2's second stage: 0.85, 0.725, 0.421875. Empty: by steps, the model's own.",
                    },
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def sample(
        self, *, step_cache: CacheRequest | None = None, unique_id: str | None = None, **values: Any
    ) -> dict[str, Any]:
        inputs, request = SamplerInputs.split(values)
        cache = None if step_cache is None else inputs.cache_run(step_cache, request)
        run = inputs.plan(request)
        plan = [] if cache is None else foreseen(cache, [part.schedule.sigmas.tolist() for part in run.parts])
        if cache is not None:
            host.say(plan, unique_id)
        if saved_calls(run):
            host.say(saved_calls(run), unique_id)
        latent = inputs.sample(run, cache, unique_id, plan)
        line, *advice = describe(run)
        lines = [line, *inputs.window_words(), *(remarks(cache) if cache else []), *inputs.few_steps, *advice]
        return with_remarks((latent, "\n".join(lines)), lines)
