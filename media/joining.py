"""Video files joined to one stream of frames and sound. Memory is that of one clip, however many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from .film import Film, moving_pictures, opened
from .finishing.join import cross_fade
from .growing_sound import GrowingSound
from .reader import read_video

_PIECE = 16  # frames handed out at a time


class JoinError(ValueError):
    """Clips that cannot be joined."""


@dataclass(frozen=True)
class Clips:
    """Files that can be joined.

    Attributes:
        paths: in order.
        counts: frames of each.
        fps: of all.
        width, height: of all, in pixels.
        overlap: frames over which each clip fades into the next.
        sound: (samples a second, channels), or None where no clip has any.
    """

    paths: tuple[Path, ...]
    counts: tuple[int, ...]
    fps: Fraction
    width: int
    height: int
    overlap: int
    sound: tuple[int, int] | None

    @classmethod
    def checked(cls, paths: Sequence[Path], overlap: int) -> Clips:
        """
        Raises:
            JoinError: fewer than two files, another size, rate or sound, or an overlap longer than a clip, by number.
            VideoError: a file that cannot be read.
        """
        if len(paths) < 2:
            raise JoinError(f"Found {len(paths)} clip(s); joining takes at least two.")
        counts, first, sounds = [], None, set[tuple[int, int]]()
        for number, path in enumerate(paths, 1):
            rate, sound, width, height = Film(path).timeline, *_properties(path)
            facts = {"width": width, "height": height, "fps": rate.fps}
            if first is None:
                first = facts
            for name, value in facts.items():
                if value != first[name]:
                    raise JoinError(
                        f"Clip {number} ({path.name}) has {name} {_number(value)}; clip 1 has {_number(first[name])}. "
                        "All clips need the same size and frames per second: make it anew, or convert it."
                    )
            counts.append(rate.length(rate.fps))
            if sound is not None:
                sounds.add(sound)
            fades = overlap * (1 if number in (1, len(paths)) else 2)
            if counts[-1] < max(fades, 1):
                raise JoinError(
                    f"Clip {number} ({path.name}) has {counts[-1]} frames, and its overlaps take {fades}. Choose a "
                    "smaller overlap."
                )
        if len({samples for samples, _ in sounds}) > 1:
            rates = " and ".join(str(samples) for samples in sorted({samples for samples, _ in sounds}))
            raise JoinError(f"The clips' sounds have {rates} samples a second; all need the same. Convert them first.")
        if len({channels for _, channels in sounds} - {1}) > 1:
            numbers = " and ".join(str(channels) for channels in sorted({channels for _, channels in sounds}))
            raise JoinError(f"The clips' sounds have {numbers} channels; all need as many, or one.")
        assert first is not None
        return cls(
            tuple(paths),
            tuple(counts),
            Fraction(first["fps"]),
            int(first["width"]),
            int(first["height"]),
            overlap,
            max(sounds, key=lambda sound: sound[1]) if sounds else None,
        )

    @property
    def frames(self) -> int:
        """Frames of the whole."""
        return sum(self.counts) - self.overlap * (len(self.counts) - 1)

    @property
    def joints(self) -> list[int]:
        """The first frame of each clip but the first one, in the whole."""
        starts, total = [], 0
        for count in self.counts[:-1]:
            total += count - self.overlap
            starts.append(total)
        return starts

    def pieces(self, sound: GrowingSound | None) -> Iterator[Tensor]:
        """The frames, [n, H, W, 3] in 0..1, with one clip in memory at a time.

        Args:
            sound: gets the sound of each stretch before its frames are handed out.
        Raises:
            JoinError: a file has changed meanwhile.
        """
        held, start = None, 0
        for number, (path, count) in enumerate(zip(self.paths, self.counts, strict=True), 1):
            video = read_video(path)
            frames = video.frames
            if frames.shape[:3] != (count, self.height, self.width):
                raise JoinError(
                    f"Clip {number} ({path.name}) gives {frames.shape[0]} frames of {frames.shape[2]} x "
                    f"{frames.shape[1]} in place of {count} of {self.width} x {self.height}: it is damaged or has "
                    "changed. Make it anew."
                )
            is_last = number == len(self.paths)
            if sound is not None:
                fade = Fraction(0) if is_last else self.overlap / self.fps
                sound.add(video.audio, start / self.fps, count / self.fps, fade)
            if held is not None:
                yield cross_fade(held, frames[: self.overlap])
            begin, end = (self.overlap if held is not None else 0), count - (0 if is_last else self.overlap)
            for at in range(begin, end, _PIECE):
                yield frames[at : min(at + _PIECE, end)].clone()
            held = frames[end:].clone() if self.overlap else None
            start += count - self.overlap
            del video, frames


def _properties(path: Path) -> tuple[tuple[int, int] | None, int, int]:
    """((samples a second, channels) of the sound or None, width, height)."""
    with opened(path) as container:
        context = moving_pictures(path, container).codec_context
        track = next((stream for stream in container.streams.audio if stream.codec_context is not None), None)
        sound = None
        if track is not None:
            sound = int(track.codec_context.sample_rate), int(track.codec_context.channels)
        return sound, context.width, context.height


def _number(value: Any) -> str:
    return f"{float(value):g}"
