"""Shared by the nodes that sample: their inputs, the checks of these, and a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..base import Variant
from ..host import host
from ..loaders import library
from ..sampling import Guidance, Run, SamplerRequest, SamplingError, plan_run
from ..sampling.caches import CacheRequest, CacheRun
from ..sampling.caches.report import details, summary
from ..sampling.clips import read_seeds
from ..sampling.guidance import check_guidance
from ..sampling.schedule import read_sigmas
from ..sampling.streams import unbind
from ..sampling.travel import check_travel, travels
from ..sampling.windows import Windows
from .few_steps import with_loras
from .inputs import require_variant
from .long_work import sampling_work
from .memory import sampled
from .pairing import check_latent_model, check_prompt, latent_record
from .sample_checks import check_clips, check_experts, check_fits, check_width
from .sizes import in_models_scale
from .step_caches import cache_run
from .streams import picture


@dataclass(frozen=True)
class SamplerInputs:
    """The models, prompts and LATENT of a run, which suit each other.

    Attributes:
        models: one, or the two experts.
        variant: of the first model, with the values of a LoRA of few steps on it.
        latent: in the model's scale.
        windows: over time, resolved for the model, which they are applied to; None: all is computed at once.
        few_steps: remarks on LoRAs of few steps that disagree.
    """

    models: tuple[Any, ...]
    variant: Variant
    positive: Any
    negative: Any
    latent: dict[str, Any]
    windows: Windows | None = None
    few_steps: tuple[str, ...] = ()

    @classmethod
    def split(cls, values: dict[str, Any]) -> tuple[SamplerInputs, SamplerRequest]:
        """The inputs of a node that has those of Video Sampler: what is checked, and what is asked for."""
        names = ("model", "positive", "negative", "latent", "low_noise_model", "windows")
        inputs = cls.checked(**{name: values[name] for name in names if name in values})
        settings: dict[str, Any] = {name: value for name, value in values.items() if name not in names}
        settings["guidance"] = settings.get("guidance") or Guidance()
        settings["sigmas"] = read_sigmas(settings.get("sigmas", ""))
        settings["seeds"] = read_seeds(settings.get("seeds", ""))
        request = SamplerRequest(**settings)
        check_guidance(request.guidance, inputs.variant)
        return inputs.for_clips(request.seeds), request

    def for_clips(self, seeds: Sequence[int]) -> SamplerInputs:
        """These inputs with a clip in the LATENT for each seed; without seeds, as they are.

        Raises:
            SamplingError: the LATENT holds another number of clips, or something of the run is the same for all clips
                of a batch and would differ if each were sampled alone.
        """
        if not seeds:
            return self
        check_clips(self.variant, seeds, (self.positive, self.negative), self.windows)
        streams, count = unbind(self.latent["samples"]), len(seeds)
        if len(streams[0]) == 1:
            streams = [stream.expand(count, *stream.shape[1:]) for stream in streams]
        elif len(streams[0]) != count:
            raise SamplingError(
                f"seeds names {count} clips and the latent holds {len(streams[0])}. Give a seed for each clip, or a "
                "latent of one clip, which is taken for each seed."
            )
        return replace(self, latent={**self.latent, "samples": host.nested(streams)})

    @classmethod
    def checked(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        latent: dict[str, Any],
        low_noise_model: Any = None,
        windows: Windows | None = None,
    ) -> SamplerInputs:
        """
        Raises:
            SamplingError, FamilyError: an input is of another model, or of a shape that the model cannot make.
        """
        variant, few_steps = with_loras(require_variant(model), model, low_noise_model)
        latent = in_models_scale(variant, latent)
        resolved = None if windows is None else windows.for_model(variant)
        check_fits(variant, latent["samples"], None if resolved is None else resolved.length)
        check_latent_model(variant, latent, "This model")
        for name, conditioning in (("positive", positive), ("negative", negative)):
            check_width(variant, name, conditioning)
            check_prompt(variant, name, conditioning)
        samples = picture(latent)
        spans = [] if resolved is None or samples.ndim != 5 else resolved.spans(samples.shape[2])
        check_travel(travels(positive) or travels(negative), len(spans))
        check_experts(variant, low_noise_model)
        models = (model,) if low_noise_model is None else (model, low_noise_model)
        if windows is not None:
            models = tuple(host.apply_windows(expert, windows) for expert in models)
        return cls(models, variant, positive, negative, latent, resolved, tuple(few_steps))

    def window_words(self) -> list[str]:
        """What the user is told of the windows."""
        samples = picture(self.latent)
        return [] if self.windows is None else [self.windows.words(samples.shape[2] if samples.ndim == 5 else 1)]

    def cache_run(self, step_cache: CacheRequest, request: SamplerRequest) -> CacheRun:
        """A fresh run under a step cache.

        Raises:
            SamplingError: its profile is of another run, or the model does not suit it.
        """
        return cache_run(step_cache, list(self.models), self.variant, request.solver, request.shift)

    def plan(self, request: SamplerRequest) -> Run:
        """
        Raises:
            SamplingError: a setting is out of its range or does not suit the model.
        """
        library("diffusers")
        second = require_variant(self.models[1]) if len(self.models) > 1 else None
        negative = {**self.negative[0][1], "cross_attn": self.negative[0][0]}
        video, *sounds = unbind(self.latent["samples"])
        shape = tuple(video.shape)
        return plan_run(self.variant, request, shape, second, self.positive[0][1], negative, bool(sounds))

    def sample(
        self, run: Run, cache: CacheRun | None = None, node: str | None = None, before: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The finished LATENT.

        Args:
            node: whose progress is shown.
            before: remarks that the node shows already.
        """
        work = sampling_work(node, cache, before)
        sample = partial(
            host.sample,
            self.models[0],
            self.positive,
            self.negative,
            self.latent,
            run,
            second_expert=self.models[1] if len(self.models) > 1 else None,
            step_cache=cache,
            on_step=lambda step: work(step, len(run.steps)),
        )
        samples = sampled(self.variant, self.latent, sample)
        images = self.variant.family.images
        if images is not None and images.finish is not None:
            video, *sounds = unbind(samples)
            finished = images.finish(self.variant, self.positive[0][1], video)
            samples = host.nested([finished, *sounds])
        latent = dict(self.latent)
        if samples.shape[2:] != latent["samples"].shape[2:]:
            latent.pop("noise_mask", None)  # of a latent with appended pictures
        record = latent_record(self.variant)
        if cache is not None:
            record |= {"cache": summary(cache), "cache_report": details(cache)}
        return {**latent, "samples": samples, "opent2v": record}
