"""Another frame rate at the same speed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from .chain import Step
from .motion import between

METHODS = ("motion", "blend")


@dataclass(frozen=True)
class FrameRate(Step):
    """Frames at the moments of another rate; the length in seconds stays.

    Attributes:
        target: frames per second that come out.
        method: "motion": along the motion between two frames. "blend": the two frames laid over each other.
    """

    target: Fraction
    method: str = "motion"

    def fps(self, fps: Fraction) -> Fraction:
        return self.target

    def run(self, pieces: Iterator[Tensor], fps: Fraction, notes: list[str]) -> Iterator[Tensor]:
        step = fps / self.target  # source frames per frame that comes out
        place, index = Fraction(0), -1  # position of the next output frame; index of the source frame read last
        before: Tensor | None = None
        for piece in pieces:
            for frame in piece.split(1):
                index += 1
                while before is not None and place < index:
                    yield self._frame(before, frame, place - (index - 1))
                    place += step
                before = frame.clone()  # a view would keep the whole piece
        # The last frame is held until the video ends.
        while before is not None and place < index + 1:
            yield before
            place += step

    def _frame(self, before: Tensor, after: Tensor, time: Fraction) -> Tensor:
        if not time:
            return before
        if self.method == "blend":
            return before + (after - before) * float(time)
        first, second = (frame.permute(0, 3, 1, 2).contiguous() for frame in (before, after))
        return between(first, second, float(time)).permute(0, 2, 3, 1)
