"""What a planned run is told to the user as."""

from __future__ import annotations

from ..base import Variant
from ..base.guidance import NEGATIVE
from ..base.remarks import look
from . import few_steps
from .guidance import CONSTANT, Guidance
from .guides import SoundCfg
from .run import Run, Values


def describe(run: Run) -> list[str]:
    """Remarks on a planned run for the user: a line of its settings, and advice where there is some."""
    assert run.variant and run.request and run.values
    lines = [", ".join(_words(run, run.variant, run.request.guidance, run.values)), *saved_calls(run)]
    lines += few_steps.remarks(run.variant, run.request)
    makers = run.variant.family.sampling.cfg_schedules[0]
    if run.values.cfg_schedule == CONSTANT != makers:
        lines.append(look(f"The makers of this model use cfg_schedule {makers} (auto in Video Guidance)."))
    if not run.variant.family.sampling.reads_negative:
        title = run.variant.family.title
        lines.append(
            look(f"{title} was made for cfg 1: set cfg to 0 or 1.")
            if any(NEGATIVE in step.passes for step in run.steps)
            else f"The negative prompt is unused: {title} was made to need none."
        )
    return lines


def saved_calls(run: Run) -> list[str]:
    """A remark on guidance that works at a part of the noise levels: how many calls of the model that saves."""
    assert run.request
    settings, guided = run.request.guidance, max(len(step.passes) for step in run.steps)
    if (settings.start, settings.end) == (1, 0):
        return []
    works = sum(settings.works_at(step.timestep / 1000) for step in run.steps)
    calls, whole = sum(len(step.passes) for step in run.steps), guided * len(run.steps)
    where = f"Guidance from noise {settings.start:g} to {settings.end:g} works in {works} of {len(run.steps)} steps"
    if calls == whole:
        return [f"{where} and saves no call."]
    return [f"{where}: {calls} calls of the model in place of {whole}, about {whole / calls:.2g} times as fast."]


def _words(run: Run, variant: Variant, settings: Guidance, values: Values) -> list[str]:
    cfg = f"guidance {values.cfg:g}" if variant.embeds_guidance else f"cfg {values.cfg:g}"
    if values.cfg_schedule != CONSTANT and variant.family.sampling.cfg:
        cfg += f" {values.cfg_schedule}"
    if values.second_cfg is not None:
        cfg += f" ({values.second_cfg:g} for the {len(run.parts[1].steps)} steps at low noise)"
    words = [f"{len(run.steps)} steps", cfg]
    if settings.is_published:
        words[1:] = ["the makers' published guidance"]
    else:
        words += ["cfg star"] if settings.cfg_star else []
        if settings.stg:
            words += [f"spatio-temporal guidance {settings.stg:g}", f"rescaled {settings.stg_rescale:g}"]
    sound = next((guide.scale for guide in run.steps[0].guides if isinstance(guide, SoundCfg)), None)
    words += [] if sound is None else [f"sound cfg {sound:g}"]
    words += [f"modality guidance {settings.modality:g}"] if settings.modality not in (0, 1) else []
    words += [] if values.picture_cfg is None else [f"picture_cfg {values.picture_cfg:g}"]
    words += [f"rescaled {settings.cfg_rescale:g}"] if settings.cfg_rescale else []
    words += dict.fromkeys(guide.remark for step in run.steps for guide in step.guides if guide.remark)
    name = type(run.schedule.scheduler).__name__.removesuffix("Scheduler")
    seeds = ", ".join(map(str, run.seeds))
    return [*words, name, f"seeds {seeds}" if seeds else f"seed {run.seed}"]
