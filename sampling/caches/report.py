"""Reports of a step cache before and after a run, for the user and for the saved file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ...base.remarks import look, steps_strip
from ...base.units import bytes_text
from .plan import estimate, least_threshold, mask_text, planned
from .request import AUTO
from .run import CacheRun
from .settings import POLICIES, StepCache
from .stage import RULE, CachedStage, Call

EXPERTS = ("high noise", "low noise")
# Share of reused steps above which a run gives another video.
MUCH = 0.6


def preview(settings: StepCache, sigmas: Sequence[float], expert: int = 0) -> list[str]:
    """Lines about the plan, before a run.

    Args:
        settings: as resolved for these sigmas [steps + 1].
    """
    if settings.is_off:
        return list(settings.notes)
    plan = planned(settings, sigmas, expert)
    if plan is None:
        return [*settings.notes, f"{settings.policy} decides in the run which steps are reused."]
    computed = len(plan) - sum(plan)
    lines = [
        *settings.notes,
        steps_strip(
            f"Plan: {mask_text(plan)} ({computed} of {len(plan)} steps computed, about {estimate(plan):.2f} x)",
            mask_text(plan),
        ),
    ]
    if not any(plan):
        has_strength = POLICIES[settings.policy].has_strength
        least = least_threshold(settings, sigmas, expert, any) if has_strength else None
        lines.append(
            look(
                f"Nothing will be reused; the lowest threshold that reuses a step is {least:.3g}."
                if least
                else "Nothing will be reused: no step between start and end may be. Lower start, raise end or change "
                "plan."
            )
        )
    elif sum(plan) > MUCH * len(plan):
        lines.append(look("More than 60 % of the steps will be reused: expect another video than without the cache."))
    return lines


def remarks(run: CacheRun) -> list[str]:
    """Lines for the user after a run."""
    lines = [f"Step cache ({_policy(run)}): {summary(run)}", *_notes(run)]
    masks = mask_texts(run)
    if not masks:
        return lines
    if list(masks) == ["all"]:
        lines.append(steps_strip(masks["all"], masks["all"]))
    else:
        lines += [steps_strip(f"{name}: {text}", text, name) for name, text in masks.items()]
    forced = reasons(run)
    if forced:
        counts = ", ".join(f"{why} {n}" for why, n in forced.items())
        lines.append(f"Computed whatever the rule says: {counts}")
    computed, reused = seconds(run, True), seconds(run, False)
    if computed and reused:
        lines.append(
            f"{_seconds(computed)} a computed step, {_seconds(reused)} a reused one: sampling about "
            f"{speedup(run):.2f} x as fast as without"
        )
    peak = max((stage.peak for stage in run.stages), default=0)
    lines += [f"{bytes_text(peak)} kept at most"] if peak else []
    return [*lines, *map(look, warnings(run))]


def warnings(run: CacheRun) -> list[str]:
    lines, masks, memory = [], "".join(mask_texts(run).values()), run.request.settings.memory
    if "memory" in reasons(run):
        lines.append(
            f"More than {memory:g} GiB would be kept: the rest was computed. Raise memory, or set device to cpu."
        )
    elif any(stage.is_short for stage in run.stages):
        lines.append(
            f"More than {memory:g} GiB would be kept for predictor linear: last stood in for it. Raise memory, or set "
            "device to cpu."
        )
    if masks and "r" not in masks and not lines:
        lines.append("The step cache reused nothing: raise its threshold, or take it out.")
    if masks.count("r") > MUCH * len(masks):
        lines.append("More than 60 % of the steps were reused: expect another video than without the cache.")
    return lines


def details(run: CacheRun) -> dict[str, Any]:
    """The report as values, for the saved file."""
    times = {"computed": seconds(run, True), "reused": seconds(run, False)}
    request = run.request
    if request.target_speedup:
        strength = {"target_speedup": request.target_speedup}
    else:
        strength = {"threshold": request.settings.threshold}
    return {
        "policy": _policy(run),
        **strength,
        "steps": mask_texts(run),
        "forced": reasons(run),
        "seconds": {name: round(value, 6) for name, value in times.items() if value},
        "kept_bytes": max((stage.peak for stage in run.stages), default=0),
        "remarks": [*_notes(run), *warnings(run)],
    }


def _notes(run: CacheRun) -> list[str]:
    """The notes of the settings; with two experts, those of each."""
    return [
        f"{EXPERTS[n]}: {note}" if len(run.resolved) == 2 else note
        for n, settings in enumerate(run.resolved)
        for note in settings.notes
    ]


def _policy(run: CacheRun) -> str:
    return AUTO if run.request.is_auto else run.request.settings.policy


def summary(run: CacheRun) -> str:
    """ "12 of 20 steps computed", for each condition where they differ."""
    if not run.stages:
        return "off, all steps computed"
    counts: dict[str, Counter[str]] = {}
    for stage in run.stages:
        for label, mask in _of_stage(stage).items():
            counts.setdefault(label, Counter()).update(mask)
    computed = {label: f"{count['C']} of {count.total()} steps computed" for label, count in counts.items()}
    if len(set(computed.values())) == 1:
        computed = {"": next(iter(computed.values()))}
    text = ", ".join(f"{label} {count}".strip() for label, count in computed.items()) or "no step was run"
    if len(run.stages) == len(run.resolved):
        return text
    on = run.stages[0].expert  # one expert has too few steps for the cache, the other has not
    return f"{EXPERTS[on]} {text}, {EXPERTS[1 - on]} off"


def reused_steps(run: CacheRun) -> int:
    """How many steps of the first condition have been reused so far."""
    return sum(next(iter(_of_stage(stage).values()), "").count("r") for stage in run.stages)


def mask_texts(run: CacheRun) -> dict[str, str]:
    """Masks of the computed steps: expert and condition, where they differ, else "all" -> "CCrC"."""
    texts = {}
    for stage in run.stages:
        of_labels = _of_stage(stage)
        expert = EXPERTS[stage.expert] if len(run.resolved) == 2 else ""
        if len(set(of_labels.values())) == 1:
            texts[expert or "all"] = next(iter(of_labels.values()))
        else:
            texts |= {f"{expert} {label}".strip(): text for label, text in of_labels.items()}
    return texts


def _of_stage(stage: CachedStage) -> dict[str, str]:
    """Condition -> "CCrC"; positive first."""
    steps = stage.steps
    return {
        label: mask_text([not computed for computed in steps[label].values()]) for label in sorted(steps, reverse=True)
    }


def reasons(run: CacheRun) -> Mapping[str, int]:
    """Reason why a guard had a step computed -> number of steps."""
    forced = {
        (n, call.step, call.reason)
        for n, stage in enumerate(run.stages)
        for call in stage.calls
        if call.computed and call.reason != RULE
    }
    return dict(Counter(reason for _, _, reason in sorted(forced)))


def seconds(run: CacheRun, computed: bool) -> float | None:
    """Median time of the computed, or of the reused steps; None where there are none."""
    times = _times(run).get((computed,))
    return median(times) if times else None


def loop_seconds(run: CacheRun) -> float:
    """Time of the model's calls, each counted by the median of its kind, so that a slow first call has no effect."""
    return sum(len(times) * median(times) for times in _times(run).values())


def speedup(run: CacheRun) -> float:
    """Speed of the sampling loop relative to no cache, measured in this run."""
    count = sum(len(times) for times in _times(run).values())
    return count * (seconds(run, True) or 0.0) / loop_seconds(run)


def _times(run: CacheRun) -> dict[tuple[bool, ...], list[float]]:
    """(True,) computed, (False,) reused, (False, True) in part -> seconds of each such step."""
    steps: dict[tuple[int, int], list[Call]] = {}
    for n, stage in enumerate(run.stages):
        for call in stage.calls:
            steps.setdefault((n, call.step), []).append(call)
    times: dict[tuple[bool, ...], list[float]] = {}
    for calls in steps.values():
        kind = tuple(sorted({call.computed for call in calls}))
        times.setdefault(kind, []).append(sum(call.seconds for call in calls))
    return times


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"
