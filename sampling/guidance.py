"""Guidance settings of the user, and the guidances of every step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..base import Variant
from ..base.guidance import Guide
from ..base.stg import Stg
from ..families import families
from .errors import SamplingError
from .guides import CfgRescale, CfgStar, CleanRescale, ImageGuidance, Modality, Perturbed, SoundCfg

CONSTANT, AUTO = "constant", "auto"
# constant: the same settings in all steps. published: the makers' file states them by noise level, with cfg.
PUBLISHED = "published"
STG_SCHEDULES = (CONSTANT, PUBLISHED)
# Published noise levels have four digits, so a step's level can lie a rounding error below.
_SLACK = 1e-6


def cfg_schedules() -> tuple[str, ...]:
    """The names of all families' cfg schedules, and "auto" for the makers' own."""
    names = (name for family in families().values() for name in family.sampling.cfg_schedules)
    return (*dict.fromkeys((CONSTANT, *names)), AUTO)


@dataclass(frozen=True)
class Guidance:
    """Settings of guidance beyond one cfg for all steps, as a user makes them.

    Attributes:
        cfg_schedule: one of `cfg_schedules()`.
        cfg_rescale: share of the standard deviation added by cfg that is removed, 0 (off) to 1.
        picture_cfg: how closely pictures are followed by models that are guided by them apart from the prompt; 1 is
            off, 0 the model's own.
        low_noise_cfg: cfg of the second expert's steps; 0 is the model's own.
        cfg_star: CFG-Zero*, see `CfgStar`.
        stg: scale of spatio-temporal guidance; 0 is off.
        stg_rescale: share of the standard deviation added by all guidance that is removed, 0 to 1.
        stg_blocks: numbers with commas between; "": the model's own.
        stg_schedule: one of `STG_SCHEDULES`; with "published" the other settings of cfg and stg are not used.
        sound_cfg: cfg of the sound of a joint model; 0 is the model's own.
        modality: scale of the guidance by what picture and sound are to each other; 0 and 1 are off.
        nag, nag_tau, nag_alpha: normalised attention guidance, see `nag.normalised`; a scale of 0 or 1 is off.
        start, end: noise levels as shares of noise, falling from 1 to 0, between which cfg and all other guidance work.
    """

    cfg_schedule: str = CONSTANT
    cfg_rescale: float = 0.0
    picture_cfg: float = 0.0
    low_noise_cfg: float = 0.0
    cfg_star: bool = False
    stg: float = 0.0
    stg_rescale: float = 0.7
    stg_blocks: str = ""
    stg_schedule: str = CONSTANT
    sound_cfg: float = 0.0
    modality: float = 0.0
    nag: float = 0.0
    nag_tau: float = 2.5
    nag_alpha: float = 0.25
    start: float = 1.0
    end: float = 0.0

    def works_at(self, share: float) -> bool:
        """Whether guidance works at a share of noise, 0 to 1; its borders are inside."""
        return self.end - _SLACK <= share <= self.start + _SLACK

    @property
    def is_published(self) -> bool:
        return self.stg_schedule == PUBLISHED


def check_guidance(settings: Guidance, variant: Variant) -> None:
    """
    Raises:
        SamplingError: a setting is out of its range, or the model's makers use no such guidance.
    """
    cfg_schedule_of(settings, variant)
    images = variant.family.images
    if settings.picture_cfg and (images is None or images.guidance is None):
        raise SamplingError(f"{variant.title} has no guidance by pictures. Set picture_cfg to 0.")
    for name in ("sound_cfg", "modality"):
        if getattr(settings, name) and (not variant.is_joint or not variant.family.network.crossings):
            raise SamplingError(
                f"{name} is for models that make picture and sound by attention to each other, such as LTX-2; "
                f"{variant.title} does not. Set {name} to 0."
            )
    check_nag(settings, variant)
    if not 0 <= settings.end < settings.start <= 1:
        raise SamplingError(
            f"Guidance works from start {settings.start:g} to end {settings.end:g}; expected shares of noise from 0 to "
            "1, start above end (1 to 0: everywhere)."
        )
    if not 0 <= settings.cfg_rescale <= 1:
        raise SamplingError(f"cfg_rescale is {settings.cfg_rescale}; expected 0 (off) to 1.")
    stg_steps(settings, variant, ())


def check_nag(settings: Guidance, variant: Variant) -> None:
    """
    Raises:
        SamplingError: a setting of normalised attention guidance is out of its range, or nothing is known of where the
            model attends to the prompt.
    """
    if settings.nag in (0, 1):
        return
    network = variant.family.network
    if network.text_crossing is None and network.joint is None:
        raise SamplingError(
            f"nag works inside attention to the prompt, and where {variant.title} has that is not known here. Set nag "
            "to 0, and cfg above 1 for a negative prompt."
        )
    if settings.nag < 0 or settings.nag_tau < 1 or not 0 <= settings.nag_alpha <= 1:
        raise SamplingError(
            f"nag is {settings.nag:g}, nag_tau {settings.nag_tau:g}, nag_alpha {settings.nag_alpha:g}; expected nag of "
            "0 (off) or more, nag_tau of 1 or more, nag_alpha of 0 (off) to 1."
        )


def cfg_schedule_of(settings: Guidance, variant: Variant) -> str:
    """The name of the cfg schedule; the makers' own for "auto".

    Raises:
        SamplingError: the model has no schedule of this name.
    """
    name, schedules = settings.cfg_schedule, variant.family.sampling.cfg_schedules
    if name not in cfg_schedules():
        raise SamplingError(f"No cfg_schedule is called {name!r}. Choose one of: {', '.join(cfg_schedules())}.")
    if name == AUTO:
        return schedules[0]
    if len(schedules) == 1 and name not in schedules:
        raise SamplingError(f"{variant.title} was made for one cfg in all steps. Set cfg_schedule to constant.")
    if name not in schedules:
        raise SamplingError(f"{variant.title} knows no cfg_schedule {name!r}. Choose one of: {', '.join(schedules)}.")
    return name


@dataclass(frozen=True)
class StgSteps:
    """Spatio-temporal guidance of a run, step by step.

    Attributes:
        stg: one for each step; empty where it is off.
        cfg: one for each step, where the makers have published that as well.
    """

    stg: Sequence[Stg] = ()
    cfg_star: bool = False
    cfg: Sequence[float] = ()


def stg_steps(settings: Guidance, variant: Variant, sigmas: Sequence[float]) -> StgSteps:
    """The settings for steps at these noise levels, falling.

    Raises:
        SamplingError: the model's makers use no such guidance or publish no schedule, or a setting is out of range.
    """
    if settings.stg_schedule not in STG_SCHEDULES:
        raise SamplingError(
            f"No stg_schedule is called {settings.stg_schedule!r}. Choose one of: {', '.join(STG_SCHEDULES)}."
        )
    if not settings.stg and not settings.is_published:
        return StgSteps(cfg_star=settings.cfg_star)
    published = variant.family.sampling.stg(variant)
    if published is None:
        raise SamplingError(
            f"{variant.title} is not made for spatio-temporal guidance; LTX-Video is. Set stg to 0 and stg_schedule to "
            "constant."
        )
    if settings.is_published:
        if not published.bands or variant.sigmas:
            raise SamplingError(
                f"Nobody has published a guidance schedule for {variant.title}; there is one for the 13B dev models. "
                "Set stg_schedule to constant."
            )
        bands = [published.band(sigma + _SLACK) for sigma in sigmas]
        return StgSteps([band.stg for band in bands], True, [band.cfg for band in bands])
    if not 0 <= settings.stg_rescale <= 1 or settings.stg < 0:
        raise SamplingError(
            f"Spatio-temporal guidance has stg {settings.stg:g} and stg_rescale {settings.stg_rescale:g}; expected stg "
            "of 0 (off) or more and stg_rescale of 0 (off) to 1."
        )
    stg = Stg(settings.stg, _numbers(settings.stg_blocks) or published.blocks, settings.stg_rescale)
    return StgSteps([stg] * len(sigmas), settings.cfg_star)


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise SamplingError(f"stg_blocks is {text!r}; expected numbers with commas between, such as 11, 25.")
    return tuple(dict.fromkeys(int(part) for part in parts))


def joint_guides(
    variant: Variant, cfg: float, settings: Guidance, stg: Stg | None, has_sound: bool = True
) -> tuple[Guide, ...]:
    """The guidances of one step of a model that rescales once, in order of application: LTX-2's four passes.

    Args:
        has_sound: the run makes sound too.
    Raises:
        SamplingError: a guidance by the sound is asked for in a run without one.
    """
    for name in ("sound_cfg", "modality") if not has_sound else ():
        if getattr(settings, name) not in (0, 1):
            raise SamplingError(
                f"{name} is {getattr(settings, name):g}, and the latent holds a picture only. Set {name} to 0, or "
                "make the latent with its sound (sound on in Empty Video Latent)."
            )
    network, defaults = variant.family.network, variant.defaults
    active: list[Guide] = []
    sound_cfg = settings.sound_cfg or (defaults.sound_guidance if math.isclose(cfg, defaults.guidance) else None) or cfg
    if has_sound and not math.isclose(sound_cfg, cfg):
        active.append(SoundCfg(sound_cfg))
    if settings.cfg_star and not math.isclose(cfg, 1):
        active.append(CfgStar())
    if stg is not None and stg.scale:
        published = variant.family.sampling.stg(variant)
        names = published.attentions if published else ()
        active.append(Perturbed(replace(stg, rescale=0), network.blocks, names))
    if settings.modality not in (0, 1):
        active.append(Modality(settings.modality, network.blocks, network.crossings))
    share = max(settings.cfg_rescale, stg.rescale if stg is not None and stg.scale else 0)
    if share and (active or not math.isclose(cfg, 1)):
        active.append(CleanRescale(share))
    return tuple(active)


def guides(
    cfg: float,
    *,
    stg: Stg | None = None,
    blocks: str = "",
    cfg_star: bool = False,
    cfg_rescale: float = 0.0,
    image_scale: Tensor | None = None,
) -> tuple[Guide, ...]:
    """The guidances of one step in order of application, without those that change nothing.

    Args:
        blocks: path of the transformer's block list.
        image_scale: see `ImageGuidance`.
    """
    is_guided, active = not math.isclose(cfg, 1), []
    if image_scale is not None and bool((image_scale != 1).any()):
        active.append(ImageGuidance(image_scale))
    if cfg_star and is_guided:
        active.append(CfgStar())
    if stg is not None and stg.scale:
        active.append(Perturbed(stg, blocks))
    if cfg_rescale and is_guided:
        active.append(CfgRescale(cfg_rescale))
    return tuple(active)
