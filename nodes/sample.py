"""The sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from ..base.generators import LARGEST_SEED
from ..host import host
from ..media.naming import OutputError
from ..sampling import SOLVERS, Run, describe
from ..sampling.caches import CacheRequest
from ..sampling.caches.report import remarks
from ..sampling.describe import saved_calls
from .clips_together import clips_of, joined
from .guidance import GUIDANCE
from .inputs import STEP_CACHE, WINDOWS
from .keeping import FOLDER, Untold, keep_input, keep_latent, key_of, read_latent
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
                        "max": LARGEST_SEED,
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
                "keep": keep_input("the latent"),
                "seeds": (
                    "STRING",
                    {
                        "advanced": True,
                        "default": "",
                        "tooltip": "Several clips in one run: a seed for each, with commas, in place of seed. Each "
                        "clip is the one that its seed makes alone. A latent of one clip is taken for each seed. "
                        "Empty: seed.",
                    },
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID", "prompt": "PROMPT"},
        }

    def sample(
        self, *, keep: bool = False, prompt: Any = None, unique_id: str | None = None, **values: Any
    ) -> dict[str, Any]:
        if not keep:
            return with_remarks(*self._sampled(unique_id=unique_id, **values))
        models = {name: values.get(name) for name in ("model", "low_noise_model")}
        others = {name: value for name, value in values.items() if name not in models}
        try:
            key = key_of(others, models, prompt, unique_id)
        except Untold as error:
            result, lines = self._sampled(unique_id=unique_id, **values)
            return with_remarks(result, [*lines, f"Not kept: {error}."])
        kept = read_latent(key)
        if kept is not None:
            latent, lines = kept
            remark = f"Taken from {FOLDER}/{key}, since nothing has changed."
            return with_remarks((latent, "\n".join(lines)), [*lines, remark])
        result, lines = self._sampled(unique_id=unique_id, **values)
        try:
            keep_latent(key, result[0], lines)
            remark = f"Kept as {FOLDER}/{key}."
        except Untold as error:
            remark = f"Not kept: {error}."
        except OutputError as error:  # the latent is there, and the run goes on with it
            remark = f"The latent was not kept. {error}"
        return with_remarks(result, [*lines, remark])

    def _sampled(
        self, *, step_cache: CacheRequest | None = None, unique_id: str | None = None, **values: Any
    ) -> tuple[tuple[dict[str, Any], str], list[str]]:
        """((LATENT, report), lines for the user)."""
        inputs, request = SamplerInputs.split(values)
        cache = None if step_cache is None else inputs.cache_run(step_cache, request)
        run = inputs.plan(request)
        plan = [] if cache is None else foreseen(cache, [part.schedule.sigmas.tolist() for part in run.parts])
        if cache is not None:
            host.say(plan, unique_id)
        if saved_calls(run):
            host.say(saved_calls(run), unique_id)
        latent = inputs.sample(run, cache, unique_id, plan)
        lines = _lines(inputs, run, remarks(cache) if cache else [])
        return (latent, "\n".join(lines)), lines

    def sample_together(self, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
        """What `sample` gives for each of several calls, in one run; None where they do not fit together."""
        values = joined(calls)
        if values is None:
            return None
        unique_id = values.pop("unique_id", None)
        for name in ("keep", "prompt"):
            values.pop(name, None)
        inputs, request = SamplerInputs.split(values)
        run = inputs.plan(request)
        if saved_calls(run):
            host.say(saved_calls(run), unique_id)
        results = []
        for clip, seed in zip(clips_of(inputs.sample(run, None, unique_id), len(calls)), run.seeds, strict=True):
            lines = _lines(inputs, replace(run, seed=seed, seeds=()))
            results.append(with_remarks((clip, "\n".join(lines)), lines))
        return results


def _lines(inputs: SamplerInputs, run: Run, cached: Sequence[str] = ()) -> list[str]:
    """What the user is told of a run."""
    line, *advice = describe(run)
    return [line, *inputs.window_words(), *cached, *inputs.few_steps, *advice]
