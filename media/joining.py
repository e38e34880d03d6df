"""Clips joined to one stream of frames and sound, a few frames of which are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from .film import Film, opened
from .finishing.join import cross_fade
from .growing_sound import GrowingSound
from .measure import measure_video
from .reader import open_film, read_pieces
from .reader_sound import read_sound

# Frames handed out at a time: three such pieces are in flight, at 480p 19 MiB each.
_PIECE = 4


class JoinError(ValueError):
    """Clips that cannot be joined."""


@dataclass(frozen=True)
class Facts:
    """What is known of a clip before it is read.

    Attributes:
        count: of frames.
        width, height: in pixels.
        fps: frames per second.
        sound: (samples a second, channels), or None where it has none.
    """

    count: int
    width: int
    height: int
    fps: Fraction
    sound: tuple[int, int] | None


class OpenClip(Protocol):
    """A clip that is being read; what is wrong with it goes to the notes."""

    def audio(self, seconds: Fraction, notes: list[str]) -> Mapping[str, Any] | None:
        """The host's AUDIO of this length, which begins with the clip, or None for silence."""
        ...

    def pieces(self, notes: list[str]) -> Iterator[Tensor]:
        """The frames, [n, H, W, 3] in 0..1, in order."""
        ...


class Source(Protocol):
    """A clip that can be joined: a file, a latent, frames."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    def facts(self) -> Facts: ...

    def opened(self) -> OpenClip: ...


@dataclass(frozen=True)
class FileClip:
    """A video file as a clip."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def facts(self) -> Facts:
        """
        Raises:
            VideoError: a file that cannot be read.
        """
        timeline, sound = Film(self.path).timeline, _sound_of(self.path)
        # Frames come upright and with square pixels, which the size that a file states need not be.
        shown = measure_video(self.path, timeline.fps)
        return Facts(timeline.length(timeline.fps), shown.width, shown.height, timeline.fps, sound)

    def opened(self) -> OpenClip:
        return _OpenFile(open_film(self.path))


@dataclass(frozen=True)
class _OpenFile:
    film: Any

    def audio(self, seconds: Fraction, notes: list[str]) -> Mapping[str, Any] | None:
        if not self.film.has_sound:
            return None
        audio, remarks = read_sound(self.film.path, self.film.timeline.start, seconds, self.film.jumping)
        notes += remarks
        return audio

    def pieces(self, notes: list[str]) -> Iterator[Tensor]:
        return read_pieces(self.film, _PIECE, notes)


@dataclass(frozen=True)
class Clips:
    """Clips that can be joined.

    Attributes:
        sources: in order.
        counts: frames of each.
        fps: of all.
        width, height: of all, in pixels.
        overlaps: frames over which each clip but the last fades into the next.
        sound: (samples a second, channels), or None where no clip has any.
    """

    sources: tuple[Source, ...]
    counts: tuple[int, ...]
    fps: Fraction
    width: int
    height: int
    overlaps: tuple[int, ...]
    sound: tuple[int, int] | None

    @classmethod
    def checked(cls, paths: Sequence[Path], overlaps: Sequence[int]) -> Clips:
        """Files as clips; arguments and errors as `of`.

        Raises:
            VideoError: a file that cannot be read.
        """
        return cls.of([FileClip(path) for path in paths], overlaps)

    @classmethod
    def of(cls, sources: Sequence[Source], overlaps: Sequence[int]) -> Clips:
        """
        Args:
            overlaps: frames over which each clip fades in; one number for all, or one for each clip, the first of which
                does not count.
        Raises:
            JoinError: fewer than two clips, another size, rate or sound, or an overlap longer than a clip, by number.
        """
        if len(sources) < 2:
            raise JoinError(f"Found {len(sources)} clip(s); joining takes at least two.")
        fades = _for_joints(overlaps, len(sources))
        counts, first, sounds = [], None, set[tuple[int, int]]()
        for number, source in enumerate(sources, 1):
            facts = source.facts()
            first = first or facts
            for name in ("width", "height", "fps"):
                value, expected = getattr(facts, name), getattr(first, name)
                if value != expected:
                    raise JoinError(
                        f"Clip {number} ({source.name}) has {name} {_number(value)}; clip 1 has {_number(expected)}. "
                        "All clips need the same size and frames per second: make it anew, or convert it."
                    )
            counts.append(facts.count)
            if facts.sound is not None:
                sounds.add(facts.sound)
            taken = sum(fades[max(number - 2, 0) : number])
            if counts[-1] < max(taken, 1):
                raise JoinError(
                    f"Clip {number} ({source.name}) has {counts[-1]} frames, and its overlaps take {taken}. Choose a "
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
            tuple(sources),
            tuple(counts),
            first.fps,
            first.width,
            first.height,
            fades,
            max(sounds, key=lambda sound: sound[1]) if sounds else None,
        )

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, where all clips are files."""
        return tuple(source.path for source in self.sources if isinstance(source, FileClip))

    @property
    def frames(self) -> int:
        """Frames of the whole."""
        return sum(self.counts) - sum(self.overlaps)

    @property
    def joints(self) -> list[int]:
        """The first frame of each clip but the first one, in the whole."""
        lengths = (count - overlap for count, overlap in zip(self.counts, self.overlaps, strict=False))
        return list(accumulate(lengths))

    def pieces(self, sound: GrowingSound | None, remarks: list[str]) -> Iterator[Tensor]:
        """The frames, [n, H, W, 3] in 0..1; a few, and those of an overlap, are in memory at a time.

        Args:
            sound: gets the sound of each clip before the clip's frames are handed out.
            remarks: gets what is wrong with a clip, by its number.
        Raises:
            JoinError: a file has changed meanwhile.
        """
        held, fades = torch.empty(0, 0, 0, 3), (0, *self.overlaps, 0)
        for number, (source, count) in enumerate(zip(self.sources, self.counts, strict=True), 1):
            clip, notes, (fade_in, fade_out) = source.opened(), list[str](), fades[number - 1 : number + 1]
            if sound is not None:
                self._add_sound(sound, number, clip, notes)
            head, tail, at, end = list[Tensor](), list[Tensor](), 0, count - fade_out
            piece = held[:0]
            for piece in clip.pieces(notes):
                if piece.shape[1:3] != (self.height, self.width):
                    raise self._changed(number, at + len(piece), piece)
                cuts = [min(max(place - at, 0), len(piece)) for place in (fade_in, end)]
                fading, body, ending = piece.tensor_split(cuts)
                at += len(piece)
                if len(fading):
                    head.append(fading)
                    if min(at, fade_in) == fade_in:
                        yield cross_fade(held, torch.cat(head))
                if len(body):
                    yield body
                if len(ending):
                    tail.append(ending)
            if at != count:
                raise self._changed(number, at, piece)
            held = torch.cat(tail) if tail else piece[:0]
            remarks += [f"Clip {number} ({source.name}): {note}" for note in notes]

    def add_sound(self, sound: GrowingSound, number: int, remarks: list[str]) -> None:
        """Add the sound of a clip, counted from 1; what is wrong with it goes to the remarks."""
        notes = list[str]()
        self._add_sound(sound, number, self.sources[number - 1].opened(), notes)
        remarks += [f"Clip {number} ({self.sources[number - 1].name}): {note}" for note in notes]

    def _add_sound(self, sound: GrowingSound, number: int, clip: OpenClip, notes: list[str]) -> None:
        seconds, start = self.counts[number - 1] / self.fps, (0, *self.joints)[number - 1] / self.fps
        fade = (*self.overlaps, 0)[number - 1] / self.fps
        sound.add(clip.audio(seconds, notes), start, seconds, fade)

    def _changed(self, number: int, frames: int, piece: Tensor) -> JoinError:
        return JoinError(
            f"Clip {number} ({self.sources[number - 1].name}) gives {frames} frames of {piece.shape[2]} x "
            f"{piece.shape[1]} in place of {self.counts[number - 1]} of {self.width} x {self.height}: it is damaged or "
            "has changed. Make it anew."
        )


def _for_joints(overlaps: Sequence[int], clips: int) -> tuple[int, ...]:
    """The overlap of each joint.

    Raises:
        JoinError: neither one for all, nor one for each clip.
    """
    if len(overlaps) not in (1, clips):
        raise JoinError(
            f"There are {len(overlaps)} overlaps for {clips} clips. Connect one for all joints, or one for each clip."
        )
    return tuple(overlaps[1:]) if len(overlaps) > 1 else (overlaps[0],) * (clips - 1)


def _sound_of(path: Path) -> tuple[int, int] | None:
    """(samples a second, channels) of the sound."""
    with opened(path) as container:
        track = next((stream for stream in container.streams.audio if stream.codec_context is not None), None)
        return None if track is None else (int(track.codec_context.sample_rate), int(track.codec_context.channels))


def _number(value: Any) -> str:
    return f"{float(value):g}"
