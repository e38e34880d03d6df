"""When each frame of a video file is shown, and which frames a stretch at a constant rate takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from .pyav import av


class VideoError(ValueError):
    """The file cannot be used: the message says what was found, what was expected and what to do."""


@dataclass
class Timeline:
    """When each frame of a file is shown, in seconds of the file's clock; rising.

    Attributes:
        can_seek: frames carry these times, so that decoding may begin in the middle.
    """

    times: Sequence[Fraction]
    fps: Fraction
    can_seek: bool

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
        """
        tolerance = 1 / (2 * max(rate, self.fps))
        moments = range(start, self.length(rate), every)
        if count:
            moments = moments[:count]
        picked, n = [], 0
        for moment in moments:
            until = self.times[0] + moment / rate + tolerance
            while n + 1 < len(self.times) and self.times[n + 1] <= until:
                n += 1
            picked.append(n)
        return picked


def read_timeline(path: Path, container: Any, stream: Any) -> Timeline:
    """Read the whole file once without decoding it: the times of all packets."""
    ticks, lost = [], False
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                lost = lost or packet.pts is None
                ticks.append(packet.pts)
    except av.error.FFmpegError:
        pass  # cut off: what was read so far counts, and the reader says how much it was
    if not ticks:
        raise VideoError(f"{path.name} has no frames. Choose another file.")
    fps = stream.average_rate or stream.base_rate
    fps = Fraction(fps) if fps and fps <= 1000 else Fraction(25)
    if lost:
        return Timeline([n / fps for n in range(len(ticks))], fps, can_seek=False)
    times = sorted(tick * stream.time_base for tick in set(ticks))
    # What the container says is kept while it leads to the same number of frames; GIF's does not.
    if len(times) > 1 and abs((times[-1] - times[0]) * fps - (len(times) - 1)) > Fraction(1, 2):
        fps = ((len(times) - 1) / (times[-1] - times[0])).limit_denominator(1000)
    return Timeline(times, fps, can_seek=True)
