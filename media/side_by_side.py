"""Clips beside each other, for people who compare them: at the same time, in equal sizes, with a name on each."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .cover import scaled
from .finishing.overlay import draw_text

LAYOUTS = ("row", "column", "grid")
# Of the clips' height: the bar with the name, and the gap between clips.
_BAR, _GAP = 0.12, 0.02
_LEAST_BAR = 14  # pixels, so that letters can be read on small clips
MOST_CLIPS = 26  # letters of a blind comparison


@dataclass(frozen=True)
class Blind:
    """A comparison whose viewers do not know which clip is which.

    Attributes:
        order: for each place, the number of the clip that is shown there, counted from 0.
        letters: what each place is called.
    """

    order: tuple[int, ...]
    letters: tuple[str, ...]

    @classmethod
    def of(cls, count: int, seed: int) -> Blind:
        """A random order that the seed decides."""
        order = list(range(count))
        random.Random(seed).shuffle(order)
        return cls(tuple(order), tuple(chr(ord("A") + place) for place in range(count)))

    def key(self, labels: Sequence[str]) -> dict[str, str]:
        """Letter -> the clip's own label."""
        return {letter: labels[number] for letter, number in zip(self.letters, self.order, strict=True)}


def side_by_side(
    clips: Sequence[Tensor], labels: Sequence[str], layout: str = "row", fonts: tuple[Path, ...] = ()
) -> Tensor:
    """One clip that shows all of them at the same time.

    Clips of other sizes are scaled to the first one's height; shorter ones hold their last frame.

    Args:
        clips: each [F, H, W, 3] in 0..1.
        labels: one for each; "" everywhere leaves out the bar.
        layout: "row", "column" or "grid", which is as wide as high.
    Returns:
        [longest F, H', W', 3], both sides even.
    Raises:
        ValueError: no clips, more than `MOST_CLIPS`, or another number of labels.
        FontError: no font has the letters of a label.
    """
    _check(clips, labels)
    tiles = _tiles(clips, labels, fonts)
    frames = max(len(clip) for clip in clips)
    columns = {"row": len(clips), "column": 1, "grid": math.ceil(math.sqrt(len(clips)))}[layout]
    held = [torch.cat([tile, tile[-1:].expand(frames - len(tile), -1, -1, -1)]) for tile in tiles]
    return _sheet(held, columns, _gap(clips))


def contact_sheet(clips: Sequence[Tensor], labels: Sequence[str], moments: int, fonts: tuple[Path, ...] = ()) -> Tensor:
    """One picture: a line for each clip, with frames at the same moments from left to right.

    Args:
        clips, labels: as of `side_by_side`.
        moments: frames of each clip, the first and the last of the longest included.
    Returns:
        [1, H', W', 3], both sides even.
    """
    _check(clips, labels)
    frames = max(len(clip) for clip in clips)
    count = max(1, min(moments, frames))
    times = [round(index * (frames - 1) / max(count - 1, 1)) for index in range(count)]
    tiles = _tiles([clip[[min(time, len(clip) - 1) for time in times]] for clip in clips], labels, fonts)
    width = max(tile.shape[2] for tile in tiles)
    cells = [_centred(tile[[place]], tile.shape[1], width) for tile in tiles for place in range(count)]
    return _sheet(cells, count, _gap(clips))


def _check(clips: Sequence[Tensor], labels: Sequence[str]) -> None:
    if not 1 <= len(clips) <= MOST_CLIPS:
        raise ValueError(f"There are {len(clips)} clips; expected 1 to {MOST_CLIPS}.")
    if len(labels) != len(clips):
        raise ValueError(f"There are {len(labels)} labels for {len(clips)} clips; give one for each, or none at all.")


def _gap(clips: Sequence[Tensor]) -> int:
    return max(2, round(_GAP * clips[0].shape[1]))


def _tiles(clips: Sequence[Tensor], labels: Sequence[str], fonts: tuple[Path, ...]) -> list[Tensor]:
    """The clips in one height, each with the bar that bears its name."""
    height = clips[0].shape[1]
    tiles: list[Tensor] = []
    for clip in clips:
        pixels = clip[..., :3].float()
        width = max(1, round(clip.shape[2] * height / clip.shape[1]))
        tiles.append(pixels if clip.shape[1] == height else scaled(pixels, width, height))
    if not any(labels):
        return tiles
    bar = max(_LEAST_BAR, round(_BAR * height))
    bars = [_bar(label, bar, tile.shape[2], fonts) for label, tile in zip(labels, tiles, strict=True)]
    highest = max(picture.shape[0] for picture in bars)
    return [
        torch.cat([_below(picture, highest).expand(len(tile), -1, -1, -1), tile], dim=1)
        for picture, tile in zip(bars, tiles, strict=True)
    ]


def _bar(label: str, height: int, width: int, fonts: tuple[Path, ...]) -> Tensor:
    """[h, width, 3], white letters on black; higher than `height` where the name takes several lines."""
    if not label.strip():
        return torch.zeros(height, width, 3)
    letters = draw_text(label, max(8, round(0.6 * height)), width, fonts=fonts)
    picture = (letters[..., :3] * letters[..., 3:])[:, :width]
    bar = torch.zeros(max(height, picture.shape[0] + 4), width, 3)
    top, left = (bar.shape[0] - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    bar[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return bar


def _below(picture: Tensor, height: int) -> Tensor:
    return torch.cat([torch.zeros(height - picture.shape[0], *picture.shape[1:]), picture])


def _centred(tile: Tensor, height: int, width: int) -> Tensor:
    canvas = torch.zeros(len(tile), height, width, 3)
    left = (width - tile.shape[2]) // 2
    canvas[:, : tile.shape[1], left : left + tile.shape[2]] = tile
    return canvas


def _sheet(cells: Sequence[Tensor], columns: int, gap: int) -> Tensor:
    """Cells [F, h, w, 3] in lines of `columns`, each line as high as its highest cell, both sides made even."""
    lines = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    widths = [max(line[place].shape[2] for line in lines if place < len(line)) for place in range(columns)]
    frames, width = len(cells[0]), sum(widths) + gap * (columns - 1)
    heights = [max(cell.shape[1] for cell in line) for line in lines]
    height = sum(heights) + gap * (len(lines) - 1)
    canvas = torch.zeros(frames, height + height % 2, width + width % 2, 3)
    top = 0
    for line, high in zip(lines, heights, strict=True):
        left = 0
        for cell, wide in zip(line, widths, strict=False):
            canvas[:, top : top + cell.shape[1], left : left + cell.shape[2]] = cell
            left += wide + gap
        top += high + gap
    return canvas
