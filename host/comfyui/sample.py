"""A sampling run through the host's guider, with the steps of a diffusers scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management as mm
import comfy.model_sampling
import comfy.sample
import comfy.samplers
import latent_preview
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from ...base.guidance import NEGATIVE, POSITIVE, Conditioning, Pass, PassResults
from ...sampling import Discrete, ExpertSteps, Run, Schedule, Step, solve
from ...sampling.caches import CacheRun
from ...sampling.clips import refuse_cache_of_clips
from ...sampling.streams import Packing, unbind
from ...sampling.strengths import pieces, refuse_cache
from ..watch import watched
from .cache import KEY, PASS, with_step_cache
from .model import variant
from .nested import nested
from .patches import at_strengths, strengths_of
from .place import check_interrupt
from .shift import at_shift
from .streams import pad_front, without_padding


def sample(
    model: Any,
    positive: Conditioning,
    negative: Conditioning,
    latent: dict[str, Any],
    run: Run,
    *,
    second_expert: Any = None,
    step_cache: CacheRun | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    known = variant(model)
    samples, mask, padding = pad_front(known, samples, latent.get("noise_mask"))
    packing = Packing.of(unbind(samples))
    noise = _noise(samples, run, latent.get("batch_index"))
    preview = _moving(latent_preview.prepare_callback(model, run.schedule.steps), packing)
    conditionings = run.conditionings(positive, negative)
    pairs = zip((model, second_expert), run.parts, strict=False)
    experts: list[tuple[Any, ExpertSteps]] = []
    for expert_model, part in pairs:
        if expert_model is None or not part.steps:
            continue
        refuse_cache(strengths_of(expert_model), step_cache is not None)
        has_cache = step_cache is not None or bool(expert_model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY))
        refuse_cache_of_clips(run.seeds, has_cache)
        for piece, factors in pieces(part, strengths_of(expert_model)):
            changed = _in_our_space(at_strengths(expert_model, factors), run.schedule)
            experts.append((at_shift(changed, known, run.shift), piece))
    for expert_model, part in experts:
        _check_changes(expert_model, part)
    walked, result = None, samples
    for expert_model, part in experts:
        if step_cache is not None:
            expert_model = with_step_cache(expert_model, lambda: step_cache, expert=part.expert)
        stage = _Stage(expert_model, part, packing, walked, on_step)
        stage.guider.inner_set_conds(conditionings)
        with torch.inference_mode(), watched(_seen(expert_model), lambda *_: check_interrupt()):
            result = stage.guider.sample(
                noise,
                samples,
                comfy.samplers.KSAMPLER(stage.walk),
                part.schedule.sigmas,
                denoise_mask=mask,
                callback=preview,
                disable_pbar=True,
                seed=run.seed,
            )
        walked = stage.walked
    return without_padding(result, padding).to(mm.intermediate_device())


def _noise(samples: Any, run: Run, draws: Any) -> Any:
    """The noise that a run starts from, of each clip by itself where the run names seeds."""
    if not run.seeds:
        return comfy.sample.prepare_noise(samples, run.seed, draws)
    streams = unbind(samples)
    clips = [
        unbind(comfy.sample.prepare_noise(nested([stream[n : n + 1] for stream in streams]), seed))
        for n, seed in enumerate(run.seeds)
    ]
    return nested([torch.cat(stream) for stream in zip(*clips, strict=True)])


def _seen(model: Any) -> list[nn.Module]:
    """The networks to look on at: none that torch has compiled, which would be compiled anew for it."""
    wrappers = model.model_options.get("transformer_options", {}).get("wrappers", {})
    is_compiled = any("torch.compile" in kinds for kinds in wrappers.values())
    return [] if is_compiled else [model.model.diffusion_model]


def _check_changes(model: Any, part: ExpertSteps) -> None:
    """Say before anything is computed what a pass cannot change: its context raises."""
    for step in part.steps:
        for guidance_pass in step.passes:
            if guidance_pass.change is not None:
                with guidance_pass.change(model.model.diffusion_model):
                    pass


def _in_our_space(model: Any, schedule: Schedule) -> Any:
    """A clone of the host's own v model of unscaled noisy latents that walks the same space as ours.

    The host gives CogVideoX its latents as they are, while its steps, as ours, walk them scaled by sigma: dividing by
    that scale is left to samplers. With the plain v space the network sees what its makers' sampler shows it.
    """
    unscaled = getattr(comfy.model_sampling, "V_PREDICTION_DDPM", None)  # since ComfyUI 0.21
    if unscaled is None or not isinstance(model.get_model_object("model_sampling"), unscaled):
        return model
    assert isinstance(schedule.prediction, Discrete), "a v model has a table of sigmas"

    class Sampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION):
        pass

    sampling = Sampling(model.model.model_config)
    sampling.set_sigmas(schedule.prediction.sigmas.float())
    clone = model.clone()
    clone.add_object_patch("model_sampling", sampling)
    return clone


class _Guider(comfy.samplers.CFGGuider):
    """The host's guider, with the passes and guidance of a step. The host does cfg itself.

    Args:
        packing: of the latent's streams.
    Attributes:
        step: the one that is being made.
    """

    step: Step

    def __init__(self, model: Any, schedule: Schedule, packing: Packing):
        super().__init__(model)
        self.scale, self.packing = schedule.prediction, packing

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None) -> Tensor:
        options, step = model_options or {}, self.step
        if not step.guides:
            return super().predict_noise(x, timestep, options, seed)
        passes = step.passes
        streams: list[PassResults] = []

        def before_cfg(args: dict[str, Any]) -> list[Tensor]:
            positive, negative, *others = args["conds_out"]
            prompts = {POSITIVE.name: positive, NEGATIVE.name: negative}
            clean = {
                p.name: prompts[p.name] if p.name in prompts else self._evaluate(p, x, timestep, options)
                for p in passes
            }
            results = self.packing.results(PassResults(clean, x, timestep, step.cfg, self.scale))
            streams[:] = [step.before_cfg(stream) for stream in results]
            changed = (
                self.packing.pack([stream.clean[name] for stream in streams]) if name in clean else prompts[name]
                for name in prompts
            )
            return [*changed, *others]

        def after_cfg(args: dict[str, Any]) -> Tensor:
            guided = self.packing.unpack(args["denoised"])
            return self.packing.pack([step.after_cfg(*both) for both in zip(guided, streams, strict=True)])

        before, after = (options.get(f"sampler_{name}_cfg_function", []) for name in ("pre", "post"))
        functions: dict[str, Any] = {
            "sampler_pre_cfg_function": [*before, before_cfg],
            "sampler_post_cfg_function": [*after, after_cfg],
        }
        positive_pass = next(guidance_pass for guidance_pass in passes if guidance_pass.name == POSITIVE.name)
        if positive_pass.change is not None:
            functions["sampler_calc_cond_batch_function"] = self._apart(positive_pass, options)
        if NEGATIVE in passes:  # guidance may need it at cfg 1 too
            functions["disable_cfg1_optimization"] = True
        return super().predict_noise(x, timestep, {**options, **functions}, seed)

    def _apart(self, positive: Pass, options: dict[str, Any]) -> Callable[[dict[str, Any]], list[Tensor]]:
        """The host's evaluation of both prompts, the positive one with its change and the negative one without."""
        others = options.get("sampler_calc_cond_batch_function")

        def evaluate(args: dict[str, Any], conds: list[Any]) -> list[Tensor]:
            if others is not None:
                return others({**args, "conds": conds})
            return comfy.samplers.calc_cond_batch(
                args["model"], conds, args["input"], args["sigma"], args["model_options"]
            )

        def both(args: dict[str, Any]) -> list[Tensor]:
            positive_cond, negative_cond, *extra = args["conds"]
            args = {**args, "model_options": {**args["model_options"]}}
            args["model_options"].pop("multigpu_clones", None)  # what changes is this MODEL's transformer
            assert positive.change is not None
            with positive.change(self.inner_model.diffusion_model):
                # Caches know a prompt by its place.
                changed = evaluate(args, [positive_cond, *[None] * (len(extra) + 1)])[0]
            if negative_cond is None and not extra:
                return [changed, torch.zeros_like(changed)]
            return [changed, *evaluate(args, [None, negative_cond, *extra])[1:]]

        return both

    def _evaluate(self, guidance_pass: Pass, x: Tensor, timestep: Tensor, options: dict[str, Any]) -> Tensor:
        """The clean latent that a pass expects."""
        conds = [self.conds.get(guidance_pass.name, self.conds[guidance_pass.prompt])]
        # By this a step cache knows the pass.
        named = {**options, "transformer_options": {**options.get("transformer_options", {}), PASS: guidance_pass.name}}
        if guidance_pass.change is None:
            return comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, named)[0]
        named.pop("multigpu_clones", None)  # what changes is this MODEL's transformer, not those on further GPUs
        with guidance_pass.change(self.inner_model.diffusion_model):
            return comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, named)[0]


class _Stage:
    """The steps that one model walks.

    Attributes:
        walked: the latent after the last step, still with noise where another stage follows.
    """

    def __init__(
        self,
        model: Any,
        part: ExpertSteps,
        packing: Packing,
        start: Tensor | None,
        on_step: Callable[[int], None] | None,
    ):
        self.guider = _Guider(model, part.schedule, packing)
        self.part, self.start, self.on_step = part, start, on_step
        self.walked: Tensor | None = None

    def walk(
        self, inner: Any, x: Tensor, sigmas: Tensor, *, extra_args: dict[str, Any], callback: Any, disable: Any
    ) -> Tensor:
        """The host's sampler function."""
        schedule, before = self.part.schedule, self.part.before

        def denoise(x: Tensor, sigma: Tensor, step: int) -> Tensor:
            now = self.guider.step = self.part.steps[step]
            self.guider.set_cfg(now.cfg)
            return inner(x, sigma, **extra_args)

        def report(step: int, clean: Tensor, x: Tensor) -> None:
            mm.throw_exception_if_processing_interrupted()
            if self.on_step:
                self.on_step(before + step + 1)
            if callback:
                callback({"i": before + step, "denoised": clean, "x": x, "sigma": sigmas[step]})

        if self.start is not None:
            start = self.start
        elif schedule.starts_from_noise:
            start = inner.noise  # reference pipelines start from unscaled noise; the host has scaled it
        else:
            start = schedule.prediction.model_input(x, sigmas[:1])
        x = self.walked = solve(denoise, start, schedule, on_step=report)
        mask = extra_args.get("denoise_mask")
        # Solvers of higher order leave a trace of their history where the mask keeps the latent. Where it lets a part
        # of a change through, each step has blended already.
        return x if mask is None else torch.where(mask > 0, x, inner.latent_image)


def _moving(
    show: Callable[[int, Tensor, Tensor, int], None], packing: Packing
) -> Callable[[int, Tensor, Tensor, int], None]:
    """Have the host's preview, which is one still picture of a clip's first frame, show the next frame at each step.

    The clip is turned round, not cut: previews of other packs that show all of it still find all of it. Of several
    streams, which older hosts hand over as one row of numbers, the picture's is shown.
    """

    def picture(x: Any) -> Tensor:
        return x.unbind()[0] if x.is_nested else packing.unpack(x)[0]

    def turned(step: int, clean: Any, x: Any, total: int) -> None:
        show(step, picture(clean).roll(-step, dims=2), picture(x), total)

    return turned
