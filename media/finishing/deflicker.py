"""Deflickering: even out how bright the frames are, without touching what moves in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .chain import Step

_LUMA = (0.2126, 0.7152, 0.0722)  # BT.709
_SIDE = 64  # brightness is compared on pictures of this side
_LOUDEST = 0.7  # ln; one frame is corrected by a factor of 2 at most


@dataclass(frozen=True)
class Deflicker(Step):
    """Smooths the brightness over `window` frames around each frame; half of them are held back.

    How much brighter a frame is than the one before is the median over the picture: what moves through it does not
    count as flicker as long as it covers less than half of it.

    Attributes:
        window: frames, odd; 1 changes nothing. Slow fades stay as long as they take longer than this.
        strength: 0 leaves the frames as they are, 1 evens them out fully.
    """

    window: int = 9
    strength: float = 1.0

    def run(self, pieces: Iterator[Tensor], fps: Fraction, notes: list[str]) -> Iterator[Tensor]:
        half = self.window // 2
        waiting: deque[Tensor] = deque()  # frames [1, H, W, 3] whose window is not complete
        levels: deque[float] = deque()  # brightness of the waiting frames and of `half` frames before, as ln
        level, before = 0.0, None
        for piece in pieces:
            for frame in piece.split(1):
                now = _luma(frame)
                level += 0.0 if before is None else brighter(before, now)
                before = now
                levels.append(level)
                waiting.append(frame.clone())  # a view would keep the whole piece
                if len(waiting) > half:
                    yield self._corrected(waiting, levels)
        while waiting:
            yield self._corrected(waiting, levels)

    def _corrected(self, waiting: deque[Tensor], levels: deque[float]) -> Tensor:
        """The first waiting frame, corrected; it leaves the queue."""
        half = self.window // 2
        place = len(levels) - len(waiting)
        around = list(levels)[max(0, place - half) : place + half + 1]  # fewer at the video's ends
        change = max(-_LOUDEST, min(_LOUDEST, sum(around) / len(around) - levels[place]))
        frame = waiting.popleft()
        while len(levels) - len(waiting) > half:
            levels.popleft()
        return (frame * float(torch.tensor(change * self.strength).exp())).clamp(0, 1)


def _luma(frame: Tensor) -> Tensor:
    """Brightness of a frame [1, H, W, 3] as a small picture [h, w]."""
    luma = frame @ torch.tensor(_LUMA, dtype=frame.dtype, device=frame.device)
    return adaptive_avg_pool2d(luma, (min(_SIDE, luma.shape[1]), min(_SIDE, luma.shape[2])))[0]


def brighter(before: Tensor, after: Tensor) -> float:
    """By what factor, as natural logarithm, the small picture `after` is brighter than `before`: the median."""
    # Black and blown-out places say nothing about the light.
    usable = (before > 0.02) & (after > 0.02) & (before < 0.98) & (after < 0.98)
    if usable.float().mean() < 0.05:
        return 0.0
    return float((after[usable] / before[usable]).log().median())
