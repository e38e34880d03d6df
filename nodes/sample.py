"""The sampler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..base import Variant
from ..host import host
from ..loaders import library
from ..sampling import SOLVERS, Guidance, SamplingError, guidance_steps, make_schedule
from ..sampling.caches import CacheRequest, CacheRun
from ..sampling.caches.report import details, remarks, summary
from .guidance import GUIDANCE, told
from .inputs import STEP_CACHE, require_variant
from .pairing import check_made_for, check_prompt, made_by
from .remarks import with_remarks
from .sample_checks import CFG_SCHEDULES, check_experts, check_fits, check_width, known_cfg_schedule
from .sizes import in_models_scale
from .step_caches import cache_run, foreseen
from .streams import picture

# What pictures put into a CONDITIONING's dictionary.
PICTURES = ("concat_latent_image", "concat_mask")


def steps_of(variant: Variant, steps: int) -> int:
    """How many steps a run has; 0 asks for the model's own."""
    return steps or len(variant.sigmas) or variant.defaults.steps


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
                "low_noise_cfg": (
                    "FLOAT",
                    {
                        "advanced": True,
                        "default": 0.0,
                        "min": 0.0,
                        "max": 100.0,
                        "step": 0.1,
                        "tooltip": "cfg of the low-noise model's steps. 0: the model's own.",
                    },
                ),
                "cfg_schedule": (
                    list(CFG_SCHEDULES),
                    {
                        "advanced": True,
                        "default": "constant",
                        "tooltip": "How cfg goes over the steps. auto: as the model's makers have it. dynamic "
                        "(CogVideoX): rises smoothly from 1 to cfg + 1. dynamic (reference): as the makers' own code, "
                        "up and down. "
                        "oscillating (Open-Sora 2.0): 1 in every second step after the tenth.",
                    },
                ),
                "cfg_rescale": (
                    "FLOAT",
                    {
                        "advanced": True,
                        "default": 0.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.05,
                        "tooltip": "Takes back the contrast that a high cfg adds, against burnt colours. 0: off; 0.7: "
                        "a common value.",
                    },
                ),
                "step_cache": (
                    STEP_CACHE,
                    {"tooltip": "From Step Cache: faster, with a little less detail. The node says what was reused."},
                ),
                "guidance": (
                    GUIDANCE,
                    {"tooltip": "From Spatio-Temporal Guidance, for LTX-Video: steadier motion, half as long again."},
                ),
                "picture_cfg": (
                    "FLOAT",
                    {
                        "advanced": True,
                        "default": 0.0,
                        "min": 0.0,
                        "max": 100.0,
                        "step": 0.1,
                        "tooltip": "How closely the picture is followed, for models that are guided by it apart from "
                        "the prompt (Open-Sora 2.0). 1: off. 0: the model's own.",
                    },
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def sample(
        self,
        model: Any,
        positive: Any,
        negative: Any,
        latent: dict[str, Any],
        seed: int,
        steps: int,
        cfg: float,
        shift: float,
        solver: str,
        denoise: float,
        low_noise_model: Any = None,
        low_noise_cfg: float = 0.0,
        cfg_schedule: str = "constant",
        cfg_rescale: float = 0.0,
        step_cache: CacheRequest | CacheRun | None = None,
        guidance: Guidance | None = None,
        picture_cfg: float = 0.0,
        unique_id: str | None = None,
    ) -> dict[str, Any]:
        variant = require_variant(model)
        latent = in_models_scale(variant, latent)
        check_fits(variant, latent["samples"])
        check_made_for(variant, latent, "This model")
        for name, conditioning in (("positive", positive), ("negative", negative)):
            check_width(variant, name, conditioning)
            check_prompt(variant, name, conditioning)
        check_experts(variant, low_noise_model)
        cfg_schedule = known_cfg_schedule(variant, cfg_schedule)
        images = variant.family.images
        picture_guidance = images and images.guidance
        if picture_cfg and picture_guidance is None:
            raise SamplingError(f"{variant.title} has no guidance by pictures. Set picture_cfg to 0.")
        if not 0 <= cfg_rescale <= 1:
            raise SamplingError(f"cfg_rescale is {cfg_rescale}; expected 0 (off) to 1.")
        models = [model] if low_noise_model is None else [model, low_noise_model]
        is_setting = isinstance(step_cache, CacheRequest)  # else a run, which a node that measures reads afterwards
        cache = cache_run(step_cache, models, variant, solver, shift) if is_setting else step_cache
        library("diffusers")
        own = variant.defaults
        steps = steps_of(variant, steps)
        scale = cfg or own.guidance
        remark = f"{steps} steps, cfg {scale:g}"
        if variant.embeds_guidance:
            positive, negative = (_with_guidance(c, scale) for c in (positive, negative))
            remark, scale = f"{steps} steps, guidance {scale:g}", 1.0
        shape = tuple(picture(latent).shape)
        schedule = make_schedule(
            variant.scheduler,
            solver,
            steps=steps,
            shift=shift or None,
            denoise=denoise,
            kind=variant.prediction,
            sigmas=lambda total: variant.family.sampling.sigmas(variant, total, shift or None, shape),
            seed=seed,
        )
        scales: float | Sequence[float] = scale
        if cfg_schedule != "constant" and variant.family.sampling.cfg:
            scales = variant.family.sampling.cfg(variant, cfg_schedule, scale, schedule.timesteps)
            remark += f" {cfg_schedule}"
        low = None
        if low_noise_model is not None:
            low_cfg = low_noise_cfg or cfg or own.low_noise_guidance or own.guidance
            low = (low_noise_model, low_cfg)
            remark += f" ({low_cfg:g} for the {schedule.split(variant.boundary)[1].steps} steps at low noise)"
        steered = None
        if guidance is not None:
            steered = guidance_steps(guidance, variant, schedule.sigmas[:-1].tolist())
            scales = steered.cfg or scales
            remark = told(guidance, remark)
        unpictured = None
        if picture_guidance is not None:
            closeness = picture_cfg or own.picture_guidance
            levels = picture_guidance(variant, cfg_schedule, closeness, positive[0][1], steps, shape[2])
            if levels is not None:
                unpictured = _unpictured(negative), levels
                remark += f", picture_cfg {closeness:g}"
        if cfg_rescale:
            remark += f", rescaled {cfg_rescale:g}"
        if is_setting and cache is not None:
            parts = schedule.split(variant.boundary) if low else [schedule]
            host.say(foreseen(cache, [part.sigmas.tolist() for part in parts]), unique_id)
        samples = host.sample(
            model,
            positive,
            negative,
            latent,
            schedule=schedule,
            cfg=scales,
            seed=seed,
            on_step=host.progress(steps, unique_id),
            low_noise=low,
            cfg_rescale=cfg_rescale,
            step_cache=cache,
            guidance=steered,
            unpictured=unpictured,
        )
        if images is not None and images.finish is not None:
            samples = images.finish(variant, positive[0][1], samples)
        made: dict[str, Any] = {**latent, "samples": samples, "opent2v": made_by(variant)}
        if cache is not None:
            made["opent2v"] |= {"cache": summary(cache), "cache_report": details(cache)}
        name = type(schedule.scheduler).__name__.removesuffix("Scheduler")
        lines = [f"{remark}, {name}, seed {seed}", *(remarks(cache) if cache else [])]
        makers = variant.family.sampling.cfg_schedules[0]
        if cfg_schedule == "constant" != makers:
            lines.append(f"The makers of this model use cfg_schedule {makers} (auto).")
        return with_remarks((made, "\n".join(lines)), lines)


def _with_guidance(conditioning: Any, scale: float) -> Any:
    """The guidance that the transformer is told, unless another node has set it."""
    return [[context, {"guidance": scale, **further}] for context, further in conditioning]


def _unpictured(conditioning: Any) -> Any:
    return [[context, {k: v for k, v in further.items() if k not in PICTURES}] for context, further in conditioning]
