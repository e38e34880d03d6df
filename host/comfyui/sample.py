"""A sampling run through the host's guider, with the steps of a diffusers scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management as mm
import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ...base.stg import attentions, values_only
from ...sampling import Schedule, Steps, rescaled, solve, starred, with_stg
from ...sampling.caches import CacheRun
from .cache import PASS, under
from .model import variant


def sample(
    model: Any,
    positive: list[list[Any]],
    negative: list[list[Any]],
    latent: dict[str, Any],
    *,
    schedule: Schedule,
    cfg: float | Sequence[float],
    seed: int,
    on_step: Callable[[int], None] | None = None,
    low_noise: tuple[Any, float] | None = None,
    cfg_rescale: float = 0.0,
    step_cache: CacheRun | None = None,
    guidance: Steps | None = None,
    unpictured: tuple[list[list[Any]], Tensor] | None = None,
) -> Tensor:
    """Denoise a LATENT with the host's conditioning, masks, hooks, wrappers, previews and interrupt.

    Args:
        latent: {"samples" [B, C, T, h, w], optional "noise_mask", "batch_index"}; mask 1 is made anew, 0 is kept. Both
            may be nested, of several streams.
        cfg: guidance scale, one for all steps or one for each; 1 runs the positive prompt alone.
        on_step: called with the number of steps done, before the host's own preview and progress.
        low_noise: (MODEL, cfg) that takes over below the variant's boundary.
        cfg_rescale: how much of the spread that guidance adds is taken back, 0 to 1.
        step_cache: a fresh run of a step cache, in place of the MODEL's own.
        guidance: spatio-temporal guidance, with one `Stg` for each step.
        unpictured: (the negative CONDITIONING without its pictures, [steps, T or 1] scale of what they change): what
            pictures change is the difference between negative and this one, and is added (scale - 1) times.
    Returns:
        VAE latents [B, C, T, h, w] float32; nested where `latent` is.
    """
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    shapes = [tuple(one.shape) for one in samples.unbind()] if samples.is_nested else [tuple(samples.shape)]
    found, mask, padding = variant(model), latent.get("noise_mask"), 0
    if found is not None and (padding := found.geometry.front_padding(samples.shape[2])):
        mask = None if mask is None else found.geometry.pad_front(comfy.utils.reshape_mask(mask, samples.shape))
        samples = found.geometry.pad_front(samples)
    model = _in_our_space(model, schedule)
    low_noise = None if low_noise is None else (_in_our_space(low_noise[0], schedule), low_noise[1])
    noise = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))
    preview = _moving(latent_preview.prepare_callback(model, schedule.steps), shapes)
    if guidance is not None:
        assert found is not None
        model = _steered(model, schedule, guidance, found.family.network.blocks)
    stages = [(model, cfg, schedule)]
    if low_noise is not None:
        high, low = schedule.split(found.boundary if found else 0.0)
        stages = [(model, cfg, high), (*low_noise, low)]
    walked, done, result = None, 0, samples
    for n, (one, scale, part) in enumerate(stages):
        if part.steps:
            if step_cache is not None:
                one = under(one, lambda: step_cache, expert=n)
            run = _Stage(_rescaling(one, schedule, cfg_rescale, shapes), scale, part, walked, done, on_step, unpictured)
            run.guider.set_conds(positive, negative)
            if unpictured:
                run.guider.inner_set_conds({"unpictured": unpictured[0]})
            with torch.inference_mode():
                result = run.guider.sample(
                    noise,
                    samples,
                    comfy.samplers.KSAMPLER(run.walk),
                    part.sigmas,
                    denoise_mask=mask,
                    callback=preview,
                    disable_pbar=True,
                    seed=seed,
                )
            walked = run.walked
        done += part.steps
    return (result[:, :, padding:] if padding else result).to(mm.intermediate_device())


def _in_our_space(model: Any, schedule: Schedule) -> Any:
    """A clone of the host's own v model of unscaled noisy latents that walks the same space as ours.

    The host gives CogVideoX its latents as they are, while its steps, as ours, walk them scaled by sigma: dividing by
    that scale is left to samplers. With the plain v space the network sees what its makers' sampler shows it.
    """
    unscaled = getattr(comfy.model_sampling, "V_PREDICTION_DDPM", None)  # since ComfyUI 0.21
    if unscaled is None or not isinstance(model.get_model_object("model_sampling"), unscaled):
        return model

    class Sampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION):
        pass

    sampling = Sampling(model.model.model_config)
    sampling.set_sigmas(schedule.prediction.sigmas.float())
    clone = model.clone()
    clone.add_object_patch("model_sampling", sampling)
    return clone


def _rescaling(model: Any, schedule: Schedule, share: float, shapes: Sequence[tuple[int, ...]]) -> Any:
    """The MODEL, or a clone whose guided predictions are rescaled, each stream by itself.

    Args:
        shapes: of the streams; several come as one row of numbers.
    """
    if not share:
        return model

    def after_cfg(args: dict[str, Any]) -> Tensor:
        if args["cond_scale"] == 1:
            return args["denoised"]
        sigma, predicts = args["sigma"], schedule.prediction
        whole = [args[name] for name in ("denoised", "cond_denoised", "input")]
        streams = zip(*(comfy.utils.unpack_latents(one, shapes) for one in whole), strict=True)
        done = [rescaled(*stream, sigma, predicts, share) for stream in streams]
        return done[0] if len(done) == 1 else comfy.utils.pack_latents(done)[0]

    model = model.clone()
    model.set_model_sampler_post_cfg_function(after_cfg)
    return model


def _steered(model: Any, schedule: Schedule, guidance: Steps, path: str) -> Any:
    """A clone of the MODEL under spatio-temporal guidance, for one run.

    Args:
        path: of the transformer's block list.
    """
    for stg in guidance.stg:
        attentions(model.model.diffusion_model, path, stg.blocks)  # says which block there is not
    steps, predicts = iter(guidance.stg), schedule.prediction

    def after_cfg(args: dict[str, Any]) -> Tensor:
        stg, x, sigma = next(steps), args["input"], args["sigma"]
        clean, positive, scale = args["denoised"], args["cond_denoised"], args["cond_scale"]
        if guidance.cfg_star and scale != 1:
            negative = args["uncond_denoised"]
            # What (1 - scale) of the negative was is that of the scaled one; what others did to the result stays.
            clean = clean + (starred(negative, positive, x, sigma, predicts) - negative) * (1 - scale)

        def weakened() -> Tensor:
            options = _passing(args["model_options"], "weakened")
            options.pop("multigpu_clones", None)  # the weakened blocks are this MODEL's, not those on further GPUs
            with values_only(args["model"].diffusion_model, path, stg.blocks):
                return comfy.samplers.calc_cond_batch(args["model"], [args["cond"]], x, sigma, options)[0]

        return with_stg(clean, positive, weakened, x, sigma, predicts, stg)

    model = model.clone()
    model.set_model_sampler_post_cfg_function(after_cfg)
    return model


def _passing(options: dict[str, Any], name: str) -> dict[str, Any]:
    """A call's options that tell a step cache which pass of guidance it is."""
    return {**options, "transformer_options": {**options.get("transformer_options", {}), PASS: name}}


class _Guider(comfy.samplers.CFGGuider):
    """The host's guider, with a second guidance by pictures.

    Attributes:
        picture: [T or 1] of the step, see `sample`; None for words alone.
    """

    picture: Tensor | None = None

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None) -> Tensor:
        options = model_options or {}
        if self.picture is None or bool((self.picture == 1).all()):
            return super().predict_noise(x, timestep, options, seed)
        further = self.picture.to(x).view(1, 1, -1, 1, 1) - 1

        def pictured(args: dict[str, Any]) -> list[Tensor]:
            """Both predictions moved alike, so that what follows guides by words as ever."""
            positive, negative, *others = args["conds_out"]
            unpictured, told = [self.conds["unpictured"]], _passing(options, "unpictured")
            (plain,) = comfy.samplers.calc_cond_batch(self.inner_model, unpictured, x, timestep, told)
            moved = further * (negative - plain)
            return [positive + moved, negative + moved, *others]

        before = options.get("sampler_pre_cfg_function", [])
        # The negative is needed at cfg 1 too.
        asked = {**options, "disable_cfg1_optimization": True, "sampler_pre_cfg_function": [*before, pictured]}
        return super().predict_noise(x, timestep, asked, seed)


class _Stage:
    """The steps that one model walks.

    Attributes:
        walked: the latent after the last step, still with noise where another stage follows.
    """

    def __init__(
        self,
        model: Any,
        cfg: float | Sequence[float],
        schedule: Schedule,
        start: Tensor | None,
        before: int,
        on_step: Callable[[int], None] | None,
        unpictured: tuple[list[list[Any]], Tensor] | None = None,
    ):
        self.guider = _Guider(model)
        self.pictures = list(unpictured[1]) if unpictured else [None] * schedule.steps
        self.scales = [float(cfg)] * schedule.steps if isinstance(cfg, int | float) else list(cfg)
        self.schedule, self.start, self.before, self.on_step = schedule, start, before, on_step
        self.walked: Tensor | None = None

    def walk(
        self, inner: Any, x: Tensor, sigmas: Tensor, *, extra_args: dict[str, Any], callback: Any, disable: Any
    ) -> Tensor:
        """The host's sampler function."""
        scales, pictures = iter(self.scales), iter(self.pictures)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            self.guider.set_cfg(next(scales))
            self.guider.picture = next(pictures)
            return inner(x, sigma, **extra_args)

        def report(step: int, clean: Tensor, x: Tensor) -> None:
            mm.throw_exception_if_processing_interrupted()
            if self.on_step:
                self.on_step(self.before + step + 1)
            if callback:
                callback({"i": self.before + step, "denoised": clean, "x": x, "sigma": sigmas[step]})

        if self.start is not None:
            start = self.start
        elif self.schedule.starts_from_noise:
            start = inner.noise  # reference pipelines start from unscaled noise; the host has scaled it
        else:
            start = self.schedule.prediction.model_input(x, sigmas[:1])
        x = self.walked = solve(denoise, start, self.schedule, on_step=report)
        mask = extra_args.get("denoise_mask")
        # Solvers of higher order leave a trace of their history where the mask keeps the latent. Where it lets a part
        # of a change through, each step has blended already.
        return x if mask is None else torch.where(mask > 0, x, inner.latent_image)


def _moving(
    show: Callable[[int, Tensor, Tensor, int], None], shapes: Sequence[tuple[int, ...]]
) -> Callable[[int, Tensor, Tensor, int], None]:
    """Have the host's preview, which is one still picture of a clip's first frame, show the next frame at each step.

    The clip is turned round, not cut: previews of other packs that show all of it still find all of it. Of several
    streams, which older hosts hand over as one row of numbers, the picture's is shown.
    """

    def picture(x: Any) -> Tensor:
        return x.unbind()[0] if x.is_nested else comfy.utils.unpack_latents(x, shapes)[0]

    def turned(step: int, clean: Any, x: Any, total: int) -> None:
        show(step, picture(clean).roll(-step, dims=2), picture(x), total)

    return turned
