"""Plans a run: the steps and the guidance that a user's request comes to. No host is needed for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ..base import Entry, Variant
from ..base.guidance import Guide
from . import few_steps
from .errors import SamplingError
from .guidance import CONSTANT, Guidance, cfg_schedule_of, check_guidance, guides, joint_guides, stg_steps
from .nag import Nag
from .run import Run, SamplerRequest, Values, make_run, steps_of
from .schedule import make_schedule


def plan_run(
    variant: Variant,
    request: SamplerRequest,
    latent_shape: tuple[int, ...],
    second_expert: Variant | None = None,
    entry: Entry | None = None,
    negative: Entry | None = None,
    has_sound: bool = True,
) -> Run:
    """The run that a request comes to.

    Args:
        latent_shape: [B, C, T, h, w] of the video's stream.
        second_expert: of the model that takes over below the variant's boundary.
        entry: dictionary of the positive CONDITIONING, for guidance by its pictures.
        negative: dictionary of the negative CONDITIONING and its embedding under "cross_attn", for guidance by
            attention.
        has_sound: the latent of a model with sound holds one.
    Raises:
        SamplingError: a setting is out of its range or does not suit the model.
    """
    variant = few_steps.within_range(variant, request)
    settings, defaults = request.guidance, variant.defaults
    check_guidance(settings, variant)
    steps, shift = len(request.sigmas) or steps_of(variant, request.steps), request.shift or None
    schedule = make_schedule(
        variant.scheduler,
        request.solver,
        steps=steps,
        shift=shift,
        denoise=request.denoise,
        kind=variant.prediction,
        sigmas=lambda total: few_steps.levels(variant, total, shift, latent_shape),
        seed=request.seed,
        seeds=request.seeds,
        levels=request.sigmas,
    )
    values = Values(request.cfg or defaults.guidance, cfg_schedule_of(settings, variant))
    if second_expert is not None:
        second = settings.low_noise_cfg or request.cfg or defaults.low_noise_guidance or defaults.guidance
        values = replace(values, second_cfg=second)
    image_scales, values = _image_scales(variant, settings, values, entry or {}, steps, latent_shape)
    stg = stg_steps(settings, variant, schedule.sigmas[:-1].tolist())

    works = [settings.works_at(share) for share in (schedule.timesteps / 1000).tolist()]

    def scales(cfg: float) -> Sequence[float]:
        return [scale if does else 1.0 for scale, does in zip(every_scale(cfg), works, strict=True)]

    def every_scale(cfg: float) -> Sequence[float]:
        if stg.cfg:
            return stg.cfg
        if variant.embeds_guidance:
            return [1.0] * steps
        if values.cfg_schedule != CONSTANT and variant.family.sampling.cfg:
            return variant.family.sampling.cfg(variant, values.cfg_schedule, cfg, schedule.timesteps)
        return [cfg] * steps

    attention = _nag(variant, settings, negative)

    def guides_of(step: int, cfg: float) -> tuple[Guide, ...]:
        if not works[step]:
            return ()
        perturbed = stg.stg[step] if stg.stg else None
        if variant.family.sampling.rescales_clean:
            return (*attention, *joint_guides(variant, cfg, settings, perturbed, has_sound))
        chosen = guides(
            cfg,
            stg=perturbed,
            blocks=variant.family.network.blocks,
            cfg_star=stg.cfg_star,
            cfg_rescale=settings.cfg_rescale,
            image_scale=None if image_scales is None else image_scales[step],
        )
        return (
            *attention,
            *chosen,
            *variant.family.sampling.guides(variant, entry or {}, schedule.sigmas[step].item(), cfg),
        )

    run = make_run(
        schedule,
        scales(values.cfg),
        request.seed,
        second_cfg=None if values.second_cfg is None else scales(values.second_cfg),
        boundary=variant.boundary,
        guides=guides_of,
    )
    embedded = values.cfg if variant.embeds_guidance else None
    return replace(
        run, seeds=request.seeds, embedded_guidance=embedded, variant=variant, request=request, values=values
    )


def _nag(variant: Variant, settings: Guidance, negative: Entry | None) -> tuple[Guide, ...]:
    network = variant.family.network
    attention = network.text_crossing or network.joint
    if settings.nag in (0, 1) or not settings.nag_alpha or attention is None:
        return ()
    if negative is None:
        raise SamplingError("nag leads away from the negative prompt, and this run has none. Set nag to 0.")
    return (Nag(settings.nag, settings.nag_tau, settings.nag_alpha, negative, attention, network.blocks),)


def _image_scales(
    variant: Variant, settings: Guidance, values: Values, entry: Entry, steps: int, shape: tuple[int, ...]
) -> tuple[Tensor | None, Values]:
    """[steps, T or 1] scale of guidance by pictures, or None; and the values with it."""
    images = variant.family.images
    if images is None or images.guidance is None:
        return None, values
    scale = settings.picture_cfg or variant.defaults.picture_guidance
    levels = images.guidance(variant, values.cfg_schedule, scale, entry, steps, shape[2])
    return levels, values if levels is None else replace(values, picture_cfg=scale)
