"""What a step cache did in a run, for people and for the saved file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from statistics import median
from typing import Any

from .choice import AUTO, MUCH, Choice, letters
from .run import CacheRun
from .stage import RULE, Stage

EXPERTS = ("high noise", "low noise")


def remarks(run: CacheRun) -> list[str]:
    """What the user reads after a run."""
    lines = [f"Step cache ({_policy(run)}): {summary(run)}"]
    lines += _said(run)
    found = strips(run)
    if not found:
        return lines
    lines += [found["all"]] if list(found) == ["all"] else [f"{name}: {strip}" for name, strip in found.items()]
    forced = reasons(run)
    if forced:
        lines.append("Computed whatever the rule says: " + ", ".join(f"{why} {n}" for why, n in forced.items()))
    computed, reused = seconds(run, True), seconds(run, False)
    if computed and reused:
        lines.append(
            f"{_seconds(computed)} a computed step, {_seconds(reused)} a reused one: sampling about "
            f"{speedup(run):.2f} x as fast as without"
        )
    peak = max((stage.peak for stage in run.stages), default=0)
    lines += [f"{_size(peak)} kept at most"] if peak else []
    return [*lines, *warnings(run)]


def warnings(run: CacheRun) -> list[str]:
    lines, found = [], "".join(strips(run).values())
    if "memory" in reasons(run):
        lines.append(
            f"More than {run.settings.memory:g} GiB would be kept: the rest was computed. Raise memory, or set device "
            "to cpu."
        )
    elif any(stage.is_short for stage in run.stages):
        lines.append(
            f"More than {run.settings.memory:g} GiB would be kept for predictor linear: last stood in for it. Raise "
            "memory, or set device to cpu."
        )
    if found and "r" not in found and not lines:
        lines.append("The step cache reused nothing: raise its threshold, or take it out.")
    if found.count("r") > MUCH * len(found):
        lines.append("More than 60 % of the steps were reused: expect another video than without the cache.")
    return lines


def details(run: CacheRun) -> dict[str, Any]:
    """The same for programs: goes into the saved file."""
    computed, reused = seconds(run, True), seconds(run, False)
    target = run.settings.target_speedup if isinstance(run.settings, Choice) else 0.0
    return {
        "policy": _policy(run),
        **({"target_speedup": target} if target else {"threshold": run.settings.threshold}),
        "steps": strips(run),
        "forced": reasons(run),
        "seconds": {name: round(one, 6) for name, one in (("computed", computed), ("reused", reused)) if one},
        "kept_bytes": max((stage.peak for stage in run.stages), default=0),
        "remarks": [*_said(run), *warnings(run)],
    }


def _said(run: CacheRun) -> list[str]:
    """What the settings have to say, of each expert where there are two."""
    return [
        f"{EXPERTS[n]}: {line}" if len(run.settled) == 2 else line
        for n, settled in enumerate(run.settled)
        for line in settled.said
    ]


def _policy(run: CacheRun) -> str:
    return AUTO if isinstance(run.settings, Choice) and run.settings.is_auto else run.settings.policy


def summary(run: CacheRun) -> str:
    """ "12 of 20 steps computed", for each condition where they differ."""
    if not run.stages:
        return "off, all steps computed"
    counts: dict[str, Counter[str]] = {}
    for stage in run.stages:
        for label, strip in _of_stage(stage).items():
            counts.setdefault(label, Counter()).update(strip)
    said = {label: f"{one['C']} of {one.total()} steps computed" for label, one in counts.items()}
    if len(set(said.values())) == 1:
        said = {"": next(iter(said.values()))}
    text = ", ".join(f"{label} {one}".strip() for label, one in said.items()) or "no step was run"
    if len(run.stages) == len(run.settled):
        return text
    on = run.stages[0].expert  # few steps of one expert, and not of the other
    return f"{EXPERTS[on]} {text}, {EXPERTS[1 - on]} off"


def strips(run: CacheRun) -> dict[str, str]:
    """Which steps were computed: expert and condition, where they differ, else "all" -> "CCrC"."""
    found = {}
    for stage in run.stages:
        of_labels = _of_stage(stage)
        expert = EXPERTS[stage.expert] if len(run.settled) == 2 else ""
        if len(set(of_labels.values())) == 1:
            found[expert or "all"] = next(iter(of_labels.values()))
        else:
            found |= {f"{expert} {label}".strip(): strip for label, strip in of_labels.items()}
    return found


def _of_stage(stage: Stage) -> dict[str, str]:
    """Condition -> its strip; positive first."""
    steps = stage.steps
    return {label: letters([not one for one in steps[label].values()]) for label in sorted(steps, reverse=True)}


def reasons(run: CacheRun) -> Mapping[str, int]:
    """Why steps were computed whatever the rule says -> how many."""
    found = {
        (n, call.step, call.reason)
        for n, stage in enumerate(run.stages)
        for call in stage.calls
        if call.computed and call.reason != RULE
    }
    return dict(Counter(reason for _, _, reason in sorted(found)))


def seconds(run: CacheRun, computed: bool) -> float | None:
    """Median of the steps that were all computed, or all reused; None where there are none."""
    times = _times(run).get((computed,))
    return median(times) if times else None


def loop_seconds(run: CacheRun) -> float:
    """What the model's calls take, each step counted by the median of its kind: a slow first one does not tell."""
    return sum(len(times) * median(times) for times in _times(run).values())


def speedup(run: CacheRun) -> float:
    """Of the sampling loop, from this very run."""
    count = sum(len(times) for times in _times(run).values())
    return count * (seconds(run, True) or 0.0) / loop_seconds(run)


def _times(run: CacheRun) -> dict[tuple[bool, ...], list[float]]:
    """(True,) computed, (False,) reused, (False, True) in part -> seconds of each such step."""
    steps: dict[tuple[int, int], list[Any]] = {}
    for n, stage in enumerate(run.stages):
        for call in stage.calls:
            steps.setdefault((n, call.step), []).append(call)
    found: dict[tuple[bool, ...], list[float]] = {}
    for calls in steps.values():
        kind = tuple(sorted({call.computed for call in calls}))
        found.setdefault(kind, []).append(sum(call.seconds for call in calls))
    return found


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"
