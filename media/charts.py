"""Charts of measurements: numbers in, a figure of matplotlib's or a picture out.

matplotlib is imported when the first chart is drawn, and need not be installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from textwrap import wrap
from typing import Any

import torch
from torch import Tensor

from .finishing.fonts import font_for

WIDTH, HEIGHT, DPI = 640, 400, 100  # pixels of a figure, for each of its panels; dots an inch
_LETTERS = 76  # of a line on a card
_COMPUTED, _REUSED = "#1b7f3b", "#cfe8d6"
_DEJAVU = 0x2FF  # matplotlib's own font has all letters up to here


class MissingMatplotlib(ImportError):
    """matplotlib is not installed."""


@dataclass(frozen=True)
class Line:
    """Points (x, y) under a name.

    Attributes:
        is_apart: drawn as single marks; else joined.
        colour: None: the next one of matplotlib's.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    is_apart: bool = False
    colour: str | None = None


@dataclass(frozen=True)
class Lines:
    """Lines over a common x.

    Attributes:
        x, y: what the axes count, with the unit.
        marks: x -> what is there: an upright line.
        ring: a point to point out, and its name in the legend.
        falls: x counts down from left to right, as noise levels do.
    """

    x: str
    y: str
    lines: Sequence[Line]
    marks: Mapping[float, str] = field(default_factory=dict)
    ring: tuple[float, float, str] | None = None
    falls: bool = False


@dataclass(frozen=True)
class Strips:
    """Plans: for each name a letter a step, C computed and r reused.

    Attributes:
        kinds: what the legend calls the computed steps and the reused ones.
    """

    x: str
    plans: Mapping[str, str]
    kinds: tuple[str, str] = ("computed", "reused")


@dataclass(frozen=True)
class Bars:
    """Bars with their names, from above.

    Attributes:
        x: what they measure, with the unit.
        lengths: name -> length.
        notes: what stands behind each bar.
        whole: length of the pale bar behind each; None: there is none.
    """

    x: str
    lengths: Mapping[str, float]
    notes: Sequence[str]
    whole: float | None = None


@dataclass(frozen=True)
class Card:
    """Lines of text, wrapped."""

    lines: Sequence[str]


Panel = Lines | Strips | Bars | Card


def check_matplotlib() -> None:
    """
    Raises:
        MissingMatplotlib: with the line that installs it.
    """
    try:
        import_module("matplotlib.figure")
    except ImportError as error:
        raise MissingMatplotlib(
            f"This picture is drawn by matplotlib, which cannot be imported ({error}). Install it and restart: "
            f'"{sys.executable}" -m pip install matplotlib'
        ) from error


def figure(title: str, panels: Sequence[Panel], fonts: Iterable[Path] = ()) -> Any:
    """A matplotlib Figure of panels below each other.

    Args:
        fonts: folders that are searched first where letters are beyond Latin.
    Raises:
        MissingMatplotlib: it is not installed.
        fonts.FontError: no font has the letters.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    size = WIDTH / DPI, sum(_height(panel) for panel in panels) / DPI
    # A Figure by itself: pyplot would choose a window's toolkit and keep every figure.
    drawn = Figure(figsize=size, dpi=DPI, layout="constrained")
    ratios = [_height(panel) for panel in panels]
    every = drawn.subplots(len(panels), squeeze=False, height_ratios=ratios)[:, 0]
    for axes, panel in zip(every, panels, strict=True):
        _DRAWERS[type(panel)](axes, panel)
    drawn.suptitle("\n".join(wrap(title, 72)), fontsize=11)
    _set_font(drawn, fonts)
    return drawn


def pixels(drawn: Any) -> Tensor:
    """A Figure as an IMAGE, [1, H, W, 3] in 0..1."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    data = torch.frombuffer(bytearray(canvas.buffer_rgba()), dtype=torch.uint8)
    width, height = canvas.get_width_height()
    return data.reshape(1, height, width, 4)[..., :3] / 255


def chart(title: str, panels: Sequence[Panel], fonts: Iterable[Path] = ()) -> Tensor:
    """`figure` as `pixels`."""
    return pixels(figure(title, panels, fonts))


def _height(panel: Panel) -> int:
    """Pixels that a panel needs."""
    if isinstance(panel, Strips):
        return 110 + 26 * len(panel.plans)
    if isinstance(panel, Bars):
        return 110 + 26 * len(panel.lengths)
    if isinstance(panel, Card):
        return 70 + 17 * len(_wrapped(panel))
    return HEIGHT


def _draw_lines(axes: Any, panel: Lines) -> None:
    for line in panel.lines:
        style: dict[str, Any] = {"linestyle": "none"} if line.is_apart else {"linewidth": 1.4}
        style |= {"label": line.name, "color": line.colour}
        axes.plot(line.xs, line.ys, marker="o", markersize=6 if line.is_apart else 3, **style)
    names = dict.fromkeys(panel.marks.values())
    for x, name in panel.marks.items():
        label = name if names.pop(name, "") is None else "_"  # one entry in the legend for each name
        axes.axvline(x, color="#888888", linestyle="--", linewidth=1, label=label)
    if panel.ring is not None:
        x, y, name = panel.ring
        axes.plot(
            [x], [y], marker="o", markersize=14, markerfacecolor="none", markeredgecolor="black", linestyle="none",
            label=name,
        )  # fmt: skip
    if panel.falls:
        axes.invert_xaxis()
    axes.set_xlabel(panel.x)
    axes.set_ylabel("\n".join(wrap(panel.y, 40)))
    axes.grid(alpha=0.3)
    # Below the axes, where it hides no point however many there are.
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=8, frameon=False)


def _draw_strips(axes: Any, panel: Strips) -> None:
    for row, steps in enumerate(panel.plans.values()):
        for is_computed, colour in ((True, _COMPUTED), (False, _REUSED)):
            cells = [(step + 0.55, 0.9) for step, letter in enumerate(steps) if (letter == "C") == is_computed]
            axes.broken_barh(cells, (row - 0.35, 0.7), facecolors=colour, label=f"{row} {is_computed}")
    axes.set_yticks(range(len(panel.plans)), list(panel.plans), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0.5, max(map(len, panel.plans.values())) + 0.5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel(panel.x)
    from matplotlib.patches import Patch

    keys = [Patch(color=colour, label=kind) for colour, kind in zip((_COMPUTED, _REUSED), panel.kinds, strict=True)]
    axes.legend(handles=keys, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8, frameon=False)


def _draw_bars(axes: Any, panel: Bars) -> None:
    names, lengths = list(panel.lengths), list(panel.lengths.values())
    bars = axes.barh(range(len(names)), lengths, color=_COMPUTED, height=0.7)
    if panel.whole is not None:
        axes.barh(range(len(names)), [panel.whole] * len(names), color=_REUSED, height=0.7, zorder=0)
        axes.set_xticks([panel.whole * fifth / 5 for fifth in range(6)])
    axes.bar_label(bars, panel.notes, label_type="edge", padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    # With room for the notes behind the bars.
    axes.set_xlim(0, 1.25 * (panel.whole or max(lengths, default=0) or 1))
    axes.set_xlabel(panel.x)


def _draw_card(axes: Any, panel: Card) -> None:
    axes.set_axis_off()
    text = "\n".join(_wrapped(panel))
    axes.text(0, 1, text, transform=axes.transAxes, va="top", fontsize=9, linespacing=1.35)


def _wrapped(panel: Card) -> list[str]:
    return [part for line in panel.lines for part in wrap(line, _LETTERS, subsequent_indent="   ") or [""]]


_DRAWERS: Mapping[Any, Any] = {Lines: _draw_lines, Strips: _draw_strips, Bars: _draw_bars, Card: _draw_card}


def _set_font(drawn: Any, folders: Iterable[Path]) -> None:
    """Give every text a font that has its letters, where matplotlib's own has not."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    texts = drawn.findobj(Text)
    letters = "".join(text.get_text() for text in texts)
    if all(ord(letter) <= _DEJAVU for letter in letters):
        return
    path = font_for(letters, 12, folders).path
    if isinstance(path, str):  # Pillow's own font has no file
        for text in texts:
            text.set_fontproperties(FontProperties(fname=path, size=text.get_size()))
