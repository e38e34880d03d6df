"""When each frame of a video file is shown, and which frames a stretch at a constant rate takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

# Rate where the file states none; higher rates than FASTEST_RATE come from rounding to milliseconds, or from hidden
# frames.
USUAL_RATE = Fraction(25)
FASTEST_RATE = 1000
# More than memory holds of even the smallest pictures; a damaged time leads to such numbers.
MOST_FRAMES = 1_000_000


class VideoError(ValueError):
    """The file cannot be used: the message says what was found, what was expected and what to do."""


@dataclass(frozen=True)
class Timeline:
    """When each frame of a file is shown, in seconds of the file's clock; rising.

    Attributes:
        times: of each frame, jumps of the file's clock taken out.
        ticks: what the decoded frames carry as their time stamp, in the same order; empty where the file's own stamps
            cannot be trusted and frames are counted instead.
        fps: frames per second on average.
    """

    times: Sequence[Fraction]
    fps: Fraction
    ticks: Sequence[int] = ()

    @property
    def start(self) -> Fraction:
        return self.times[0]

    def length(self, rate: Fraction) -> int:
        """Frames the whole file gives at this rate; the last one lasts one frame of the file's own."""
        seconds = self.times[-1] - self.times[0] + 1 / self.fps
        return max(1, round(seconds * rate))

    def pick(self, rate: Fraction, start: int, count: int, every: int) -> list[int]:
        """Which of the file's frames to give, in order: at each moment the latest one that has begun.

        Half a frame of tolerance makes up for times that a container rounds to milliseconds.

        Raises:
            VideoError: they are more than MOST_FRAMES.
        """
        tolerance = 1 / (2 * max(rate, self.fps))
        length = self.length(rate)
        frames = max(0, -((start - length) // every))
        if min(frames, count or frames) > MOST_FRAMES:
            raise VideoError(
                f"The file gives {frames:,} frames at {float(rate):g} fps, more than {MOST_FRAMES:,}; its times may be "
                "damaged. Set count, or make fps smaller."
            )
        moments = range(start, length, every)
        if count:
            moments = moments[:count]
        picked, n = [], 0
        for moment in moments:
            until = self.times[0] + moment / rate + tolerance
            while n + 1 < len(self.times) and self.times[n + 1] <= until:
                n += 1
            picked.append(n)
        return picked


def stated_rate(rate: Fraction | None) -> Fraction:
    """The frame rate that a container states, or the usual one where it states none that can be."""
    return Fraction(rate) if rate and 0 < rate <= FASTEST_RATE else USUAL_RATE


def counted(frames: int, fps: Fraction) -> Timeline:
    """The timeline of a file without times of its own: one frame after the other at the stated rate."""
    return Timeline([n / fps for n in range(frames)], fps)


def timed(stamps: Sequence[tuple[Fraction, int]], fps: Fraction) -> Timeline:
    """The timeline of frames with (time, tick), in any order.

    The stated rate is kept while it leads to the same number of frames; a GIF's does not.
    """
    stamps = sorted(stamps)
    times = [time for time, _ in stamps]
    if times[-1] > times[0] and abs((times[-1] - times[0]) * fps - (len(times) - 1)) > Fraction(1, 2):
        average = (len(times) - 1) / (times[-1] - times[0])
        # Slower than a frame in half an hour, the rounded rate would be nought.
        fps = (average.limit_denominator(1000) or average) if average <= FASTEST_RATE else fps
    return Timeline(times, fps, [tick for _, tick in stamps])
