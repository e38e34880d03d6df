"""What is done to a guided prediction before the solver takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..base import Variant
from ..base.stg import Stg
from .errors import SamplingError
from .prediction import Prediction

# constant: the same in all steps. published: as the makers' own file has it, by noise level, with their cfg.
GUIDANCE_SCHEDULES = ("constant", "published")
# Noise levels in published files have four digits; a step at one of them may lie a rounding error below.
_SLACK = 1e-6


@dataclass(frozen=True)
class Guidance:
    """Settings of spatio-temporal guidance.

    Attributes:
        schedule: see `GUIDANCE_SCHEDULES`; with "published" the others are not used.
        scale: 0 is off.
        rescale: how much of the spread that all guidance adds is taken back, 0 to 1.
        cfg_star: scale the negative prompt's prediction to its share in the positive one's.
        blocks: numbers with commas between; "": the model's own.
    """

    schedule: str = "constant"
    scale: float = 1.0
    rescale: float = 0.7
    cfg_star: bool = False
    blocks: str = ""


@dataclass(frozen=True)
class Steps:
    """What settings come to in a run.

    Attributes:
        stg: one for each step.
        cfg: one for each step where the settings say that too.
    """

    stg: Sequence[Stg] = ()
    cfg_star: bool = False
    cfg: Sequence[float] = field(default_factory=tuple)


def guidance_steps(settings: Guidance, variant: Variant, sigmas: Sequence[float]) -> Steps:
    """The settings for steps at these noise levels, falling.

    Raises:
        SamplingError: the model's makers use no such guidance or publish no schedule, or a setting is out of range.
    """
    own = variant.family.sampling.stg(variant)
    if own is None:
        raise SamplingError(
            f"{variant.title} is not made for spatio-temporal guidance; LTX-Video is. Disconnect guidance."
        )
    if settings.schedule not in GUIDANCE_SCHEDULES:
        raise SamplingError(
            f"No schedule is called {settings.schedule!r}. Choose one of: {', '.join(GUIDANCE_SCHEDULES)}."
        )
    if settings.schedule == "published":
        if not own.bands or variant.sigmas:
            raise SamplingError(
                f"Nobody has published a guidance schedule for {variant.title}; there is one for the 13B dev models. "
                "Set the schedule of Spatio-Temporal Guidance to constant."
            )
        bands = [own.band(sigma + _SLACK) for sigma in sigmas]
        return Steps([band.stg for band in bands], True, [band.cfg for band in bands])
    if not 0 <= settings.rescale <= 1 or settings.scale < 0:
        raise SamplingError(
            f"Spatio-temporal guidance has scale {settings.scale:g} and rescale {settings.rescale:g}; expected a scale "
            "of 0 (off) or more and a rescale of 0 (off) to 1."
        )
    stg = Stg(settings.scale, _numbers(settings.blocks) or own.blocks, settings.rescale)
    return Steps([stg] * len(sigmas), settings.cfg_star)


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise SamplingError(f"The blocks are {text!r}; expected numbers with commas between, such as 11, 25.")
    return tuple(dict.fromkeys(int(part) for part in parts))


def starred(negative: Tensor, positive: Tensor, x: Tensor, sigma: Tensor, predicts: Prediction) -> Tensor:
    """The negative prompt's clean latent, its prediction scaled to the projection of the positive one's on it.

    Arguments as in `rescaled`. Source: Fan et al. 2025, arXiv:2503.18886, optimised scale; Lightricks/LTX-Video
    @5260738, cfg_star_rescale.
    """
    away, towards = predicts.output(x, negative, sigma), predicts.output(x, positive, sigma)
    axes = list(range(1, x.ndim))
    alpha = (towards * away).sum(axes, keepdim=True) / (away.square().sum(axes, keepdim=True) + 1e-8)
    return predicts.clean(x, away * alpha, sigma)


def with_stg(
    clean: Tensor,
    positive: Tensor,
    weakened: Callable[[], Tensor],
    x: Tensor,
    sigma: Tensor,
    predicts: Prediction,
    stg: Stg,
) -> Tensor:
    """A guided clean latent with spatio-temporal guidance.

    Args:
        weakened: the positive prompt's clean latent of the weakened transformer.
        others: as in `rescaled`.
    Source: Lightricks/LTX-Video @5260738, pipeline_ltx_video.py, "perform guidance".
    """
    if not stg.scale:
        return clean
    clean = clean + stg.scale * (positive - weakened())
    return rescaled(clean, positive, x, sigma, predicts, stg.rescale) if stg.rescale else clean


def rescaled(clean: Tensor, positive: Tensor, x: Tensor, sigma: Tensor, predicts: Prediction, share: float) -> Tensor:
    """Bring the spread of a guided prediction back to that of the positive prompt's: less burnt colours at a high cfg.

    Args:
        clean, positive: the clean latent implied by both prompts together, and by the positive alone, [B, C, T, H, W].
        x: what the model was shown, in the host's scale.
        sigma: [B], as the host counts it.
        share: 0 changes nothing, 1 takes the positive prompt's spread whole.
    Source: Lin et al. 2023, arXiv:2305.08891, section 3.4, on the model's own output.
    """
    guided, own = predicts.output(x, clean, sigma), predicts.output(x, positive, sigma)
    axes = list(range(1, x.ndim))
    spread = guided.std(dim=axes, keepdim=True)
    ratio = own.std(dim=axes, keepdim=True) / spread.clamp_min(torch.finfo(spread.dtype).tiny)  # 0: nothing to scale
    return predicts.clean(x, guided * (share * ratio + 1 - share), sigma)
