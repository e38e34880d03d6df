"""Pictures of what nodes measured: which numbers are drawn, under which names. Drawing is `media.charts`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..base import WeightChange
from ..base.catalogue import translated
from ..base.weight_changes import norm_of
from ..finetune import Record
from ..host import host
from ..loaders.lora import Verdict
from ..media.charts import Bars, Card, Line, Lines, MissingMatplotlib, Panel, Strips, chart
from ..media.compare import Likeness
from ..media.continuity import Course, Joint
from ..media.finishing.fonts import FontError
from ..sampling.calibration import Profile

CHART_TOOLTIP = "The numbers as a picture, for Save Image; drawn by matplotlib, which need not be installed."
HIGHEST = 100.0  # decibels that stand for clips that are equal
_GROUPS = 14  # of layers that a picture names
_COURSE = {"red": "#d62728", "green": "#2ca02c", "blue": "#1f77b4", "contrast": "black", "sharpness": "#888888"}
_EXPERTS = ("high noise", "low noise")
_MILLIONTHS = 1e6
_BLOCK = re.compile(r"(\w+)\.(\d+)\.")
_TENTHS = 10  # of the noise levels, over each of which a training's loss is averaged


def picture_of(title: str, panels: Sequence[Panel]) -> Any:
    """IMAGE of the panels in the page's language; where it cannot be drawn, a placeholder that says so.

    Without a font for the language its words are English. The run's other results are worth more than the picture, so
    they do not fail with it.
    """
    fonts, language = tuple(host.model_roots("fonts")), host.language()
    try:
        try:
            return chart(translated(title, language), [in_language(panel, language) for panel in panels], fonts)
        except FontError:
            return chart(title, panels, fonts)
    except (MissingMatplotlib, FontError) as error:
        return host.missing(str(error))


def in_language(panel: Panel, language: str) -> Panel:
    """A panel with its words in a language; names of files and numbers stay."""

    def say(text: str) -> str:
        return translated(text, language, is_label=True)

    if isinstance(panel, Card):
        return Card([translated(line, language) for line in panel.lines])
    if isinstance(panel, Strips):
        plans = {say(name): steps for name, steps in panel.plans.items()}
        return Strips(say(panel.x), plans, (say(panel.kinds[0]), say(panel.kinds[1])))
    if isinstance(panel, Bars):
        lengths = {say(name): length for name, length in panel.lengths.items()}
        return replace(panel, x=say(panel.x), lengths=lengths, notes=[say(note) for note in panel.notes])
    return replace(
        panel,
        x=say(panel.x),
        y=say(panel.y),
        lines=[replace(line, name=say(line.name)) for line in panel.lines],
        marks={x: say(name) for x, name in panel.marks.items()},
        ring=panel.ring and (*panel.ring[:2], say(panel.ring[2])),
    )


def profile_panels(profile: Profile, plans: Mapping[str, str]) -> list[Panel]:
    """The error of a reused step by its noise level, for each distance to the last computed one; and plans."""
    experts = sorted({row.expert for row in profile.rows})
    lines = []
    for expert in experts:
        rows = [row for row in profile.rows if row.expert == expert and row.label == "positive"]
        for lag in range(max((len(row.replay) for row in rows), default=0)):
            points = [(row.sigma, row.replay[lag]) for row in rows if len(row.replay) > lag]
            name = f"computed {lag + 1} step{'s' if lag else ''} before"
            whose = f"{_EXPERTS[expert]}: " if len(experts) > 1 else ""
            lines.append(Line(whose + name, *_columns(points)))
    panels: list[Panel] = [Lines("noise level (sigma)", "error of a reused step, relative", lines, falls=True)]
    return [*panels, Strips("step", plans)] if any(plans.values()) else panels


def sweep_panels(speeds: Mapping[str, float], rows: Mapping[str, Likeness], chosen: str | None) -> list[Panel]:
    """Speed against likeness, a mark for each run."""
    lines = [Line(name, [speeds[name]], [_drawable(row.psnr)], is_apart=True) for name, row in rows.items()]
    ring = (speeds[chosen], _drawable(rows[chosen].psnr), "the chosen one") if chosen is not None else None
    x, y = "speed, times the run without a cache", f"PSNR against that run, dB ({HIGHEST:g}: equal)"
    return [Lines(x, y, lines, ring=ring)]


def likeness_panels(rows: Mapping[str, Likeness]) -> list[Panel]:
    """PSNR and SSIM of each frame."""
    numbers = {name: list(range(1, len(row.psnrs) + 1)) for name, row in rows.items()}
    psnrs = [Line(name, numbers[name], [_drawable(value) for value in row.psnrs]) for name, row in rows.items()]
    ssims = [Line(name, numbers[name], row.ssims) for name, row in rows.items()]
    return [Lines("frame", f"PSNR, dB ({HIGHEST:g}: equal)", psnrs), Lines("frame", "SSIM (1: equal)", ssims)]


def frame_panels(reference: str, rows: Mapping[str, Sequence[float]]) -> list[Panel]:
    """PSNR of each frame of clips against a reference, in dB."""
    lines = [Line(name, range(1, len(row) + 1), [_drawable(value) for value in row]) for name, row in rows.items()]
    return [Lines("frame", f"PSNR against {reference}, dB ({HIGHEST:g}: equal)", lines)]


def continuity_panels(steps: Sequence[float], course: Course, joints: Sequence[Joint], fps: float) -> list[Panel]:
    """The step from frame to frame, and colour, contrast and sharpness against the first frame's.

    Args:
        steps: PSNR in dB of frames 1, 2, ... and the ones before them.
    """
    marks = {joint.frame / fps: "joint" for joint in joints}
    times = [frame / fps for frame in range(len(steps) + 1)]
    change = [
        Line(name, times, [100 * value for value in (values / max(values[0].item(), 1e-6)).tolist()], colour=colour)
        for (name, colour), values in zip(
            _COURSE.items(), (*course.colours.unbind(1), course.contrast, course.sharpness), strict=True
        )
    ]
    return [
        Lines("time, s", "likeness to the frame before, PSNR in dB", [Line("frame to frame", times[1:], steps)], marks),
        Lines("time, s", "against the first frame, %", change, marks),
    ]


def lora_panels(verdicts: Sequence[Verdict], changes: Sequence[WeightChange] = ()) -> list[Panel]:
    """How much of a LoRA file matches the model, by groups of layers, and how much it changes each block."""
    counts: dict[str, tuple[int, int]] = {}
    for verdict in verdicts:
        fitting = [adapter.stem for adapter, _ in verdict.places]
        others = [adapter.stem for adapter in verdict.unmatched]
        others += [misfit.adapter.stem for misfit in verdict.misshapen]
        for stem, match in [*((stem, 1) for stem in fitting), *((stem, 0) for stem in others)]:
            part, whole = counts.get(layer_group(stem), (0, 0))
            counts[layer_group(stem)] = part + match, whole + 1
    ranked = sorted(counts.items(), key=lambda item: -item[1][1])
    shown, rest = dict(ranked[:_GROUPS]), [count for _, count in ranked[_GROUPS:]]
    if rest:
        shown[f"{len(rest)} more groups"] = sum(part for part, _ in rest), sum(whole for _, whole in rest)
    lengths = {name: 100 * part / whole for name, (part, whole) in shown.items()}
    notes = [f"{part} of {whole}" for part, whole in shown.values()]
    bars = Bars("changes that match the model, %", lengths, notes, whole=100)
    sizes = block_sizes(changes)
    lines = [Line(name, list(size), [_MILLIONTHS * each for each in size.values()]) for name, size in sizes.items()]
    return [bars, Lines("block", "change of its weights, root mean square, millionths", lines)] if lines else [bars]


def block_sizes(changes: Sequence[WeightChange]) -> dict[str, dict[int, float]]:
    """List of blocks -> number of a block -> root mean square of what is added to its weights at strength 1."""
    sums: dict[tuple[str, int], tuple[float, int]] = {}
    for change in changes:
        block, size = _BLOCK.search(change.key), norm_of(change)
        if block is not None and size is not None:
            place = block[1], int(block[2])
            square, count = sums.get(place, (0.0, 0))
            sums[place] = square + size[0] ** 2, count + size[1]
    sizes: dict[str, dict[int, float]] = {}
    for (name, number), (square, count) in sorted(sums.items()):
        sizes.setdefault(name, {})[number] = math.sqrt(square / count)
    return sizes


def layer_group(stem: str) -> str:
    """A layer's name with n for numbers, without what stands before the blocks' number.

    >>> layer_group("lora_unet_blocks_12_self_attn_q"), layer_group("transformer.blocks.3.attn1.to_q")
    ('blocks n self_attn_q', 'blocks n attn1.to_q')
    """
    block = re.search(r"([A-Za-z]+)[._]\d+[._](.+)$", stem)
    name = f"{block[1]} n {block[2]}" if block else stem
    name = re.sub(r"(?<=[._])\d+(?=[._]|$)", "n", name)
    return name if len(name) <= 32 else f"… {name[-30:]}"


def card_panels(lines: Sequence[str]) -> list[Panel]:
    return [Card(lines)]


def training_panels(history: Sequence[Record]) -> list[Panel]:
    """The loss of each step, and of the clips kept out where it was measured; and the loss by noise level."""
    losses = Line("loss", [record.step for record in history], [record.loss for record in history])
    measured = [(record.step, record.validation) for record in history if record.validation is not None]
    kept_out = [Line("clips kept out", *_columns(measured), is_apart=True)] if measured else []
    halves = {"first half of the steps": history[: len(history) // 2], "second half": history[len(history) // 2 :]}
    levels = [Line(name, *_columns(loss_by_level(half))) for name, half in halves.items() if half]
    panels: list[Panel] = [Lines("step", "loss, mean square error", [losses, *kept_out])]
    by_level = Lines("noise level (timestep / 1000)", "loss, mean square error", [line for line in levels if line.xs])
    return [*panels, by_level] if by_level.lines else panels


def loss_by_level(history: Sequence[Record]) -> list[tuple[float, float]]:
    """(middle of a tenth of the noise levels, mean loss of the clips that were noised to it), where there were some."""
    losses: dict[int, list[float]] = {}
    for level, loss in (pair for record in history for pair in record.levels):
        losses.setdefault(min(int(level * _TENTHS), _TENTHS - 1), []).append(loss)
    return [((tenth + 0.5) / _TENTHS, sum(each) / len(each)) for tenth, each in sorted(losses.items())]


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _drawable(psnr: float) -> float:
    return HIGHEST if math.isinf(psnr) else min(psnr, HIGHEST)
