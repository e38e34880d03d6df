"""Video files to frames and sound: exact frames, constant rate, memory for the result only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import animation
from .animation import Animation
from .film import Film
from .memory import check_room
from .pixels import Shape, pixels, shown_size
from .pyav import av
from .reader_sound import read_sound
from .scaling import Scaler
from .sequence import Pictures, is_sequence
from .timeline import VideoError

SUFFIXES = (
    ".avi",
    ".flv",
    ".gif",
    ".m2ts",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".ogv",
    ".ts",
    ".webm",
    ".wmv",
    *animation.SUFFIXES,
)
FITS = ("crop", "fit")


_INTERLACED = {
    True: "Interlaced pictures were made whole (deinterlaced); deinterlace off gives them as they are.",
    False: "The pictures are interlaced and show combs where something moves; deinterlace makes them whole.",
}


@dataclass
class Video:
    """The result of `read_video`.

    Attributes:
        frames: [n, H, W, 3] float32, 0..1.
        fps: frames per second of `frames`.
        audio: the host's AUDIO for the same stretch of time, or None where the file has no sound.
        remarks: what is worth telling the user.
    """

    frames: Tensor
    fps: Fraction
    audio: dict[str, Any] | None
    remarks: list[str]


def read_video(
    path: Path,
    *,
    start: int = 0,
    count: int = 0,
    every: int = 1,
    fps: float | Fraction = 0,
    width: int = 0,
    height: int = 0,
    fit: str = "crop",
    deinterlace: bool = True,
    report: Callable[[int, int], None] | None = None,
) -> Video:
    """Read a stretch of a video.

    Every frame stands at its own time in the file: a variable rate becomes the file's average one by showing each
    moment's frame, and so does another `fps`. A turned or mirrored phone video comes upright, non-square pixels become
    square, HDR is toned down for an SDR screen. Damage is reported in remarks: a frame that cannot
    be decoded shows the one before it, sound is silent.

    Args:
        path: a video, an animated picture, or numbered pictures as `Pictures` names them, whose own rate is `fps`.
        start: frames to leave out in front, counted at `fps`.
        count: frames to give at most; 0: all.
        every: 2 takes every second frame, and so on; the rate falls with it, so that the speed stays.
        fps: frames per second to read at; 0: the file's own.
        width, height: of the frames in pixels; 0: the file's own, or what keeps the shape where the other is given.
        fit: where both are given. "crop": fill them and cut what juts out; "fit": the largest picture inside them.
        deinterlace: make whole pictures of interlaced ones.
        report: called with frames done and frames in all; may raise.
    Raises:
        VideoError: no video, damaged, nothing in the range, or more than memory holds.
        ValueError: a number is out of range.
    """
    _check(start, count, every, fps, width, height, fit)
    with _readable(path.name):
        film = open_film(path, Fraction(fps).limit_denominator(90_000))
        timeline = film.timeline
        rate = Fraction(fps).limit_denominator(90_000) if fps else timeline.fps
        numbers = timeline.pick(rate, start, count, every)
        if not numbers:
            raise VideoError(
                f"{path.name} has {timeline.length(rate)} frames at {float(rate):g} fps; leaving out {start} in front "
                "leaves none. Make start smaller."
            )
        frames, remarks = _read_frames(film, numbers, Shape(width, height, fit), deinterlace, report)
        audio = None
        if film.has_sound:
            first, seconds = Fraction(start) / rate, Fraction(len(frames) * every) / rate
            audio, sound_remarks = read_sound(path, timeline.start + first, seconds, film.jumping)
            remarks += sound_remarks
    return Video(frames, rate / every, audio, [*film.remarks, *remarks])


def open_film(path: Path, fps: Fraction = Fraction(0)) -> Film | Animation | Pictures:
    """The reader of a path's kind.

    Args:
        fps: of numbered pictures, which state none.
    Raises:
        VideoError: it cannot be opened.
    """
    if is_sequence(path):
        return Pictures(path, fps)
    return Animation(path) if path.suffix.lower() in animation.SUFFIXES else Film(path)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """FFmpeg's errors while a file is read, as a VideoError that names it."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{name} cannot be read to its end; the file may be damaged. Convert it with another program, or choose "
            "another file."
        ) from error


def _check(start: int, count: int, every: int, fps: float | Fraction, width: int, height: int, fit: str) -> None:
    for name, value, low in (("start", start, 0), ("count", count, 0), ("every", every, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(f"{name} is {value!r}; expected a whole number from {low}.")
    for name, value in (("width", width), ("height", height)):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 16384:
            raise ValueError(f"{name} is {value!r}; expected 0 (as it is) to 16384 pixels.")
    if not math.isfinite(fps) or not 0 <= fps <= 1000:
        raise ValueError(f"fps is {fps!r}; expected 0 (as it is) to 1000.")
    if fit not in FITS:
        raise ValueError(f"fit is {fit!r}; expected {' or '.join(FITS)}.")


_CHANGES_SIZE = (
    "The picture changes its size from {} x {} to {} x {} at frame {}; what follows is scaled to the first size."
)


def read_pieces(film: Film | Animation | Pictures, size: int, remarks: list[str]) -> Iterator[Tensor]:
    """All frames of a film at its own rate, as `read_video` gives them, in pieces [n, H, W, 3] of `size` at most.

    Args:
        remarks: gets what is worth telling the user when the last piece is out.
    Raises:
        VideoError: damaged beyond reading.
    """
    numbers = film.timeline.pick(film.timeline.fps, 0, 0, 1)
    shape, held, notes = Shape(0, 0, FITS[0]), list[int](), dict[str, None]()
    piece, filled, done = torch.empty(0), 0, 0
    with _readable(film.path.name):
        for picture in _pictures(film, numbers, shape, True, held, notes):
            if not filled:
                piece = torch.empty(min(size, len(numbers) - done), *picture.shape)
            piece[filled] = picture
            filled, done = filled + 1, done + 1
            if filled == len(piece):
                yield piece
                filled = 0
    if filled:
        yield piece[:filled]
    remarks += [*film.remarks, *notes, *_remarks(film, True, held, done, len(numbers))]


def _read_frames(
    film: Film | Animation | Pictures,
    numbers: Sequence[int],
    shape: Shape,
    deinterlace: bool,
    report: Callable[[int, int], None] | None,
) -> tuple[Tensor, list[str]]:
    """([n, H, W, 3] of the wanted frames, shorter where the file ends early; remarks)."""
    result, done, held, notes = torch.empty(0), 0, list[int](), dict[str, None]()
    for picture in _pictures(film, numbers, shape, deinterlace, held, notes):
        if not done:
            check_room(film.path.name, len(numbers), picture.shape[1], picture.shape[0])
            result = torch.empty(len(numbers), *picture.shape)
        result[done] = picture
        done += 1
        if report:
            report(done, len(numbers))
    return result[:done], [*notes, *_remarks(film, deinterlace, held, done, len(numbers))]


def _pictures(
    film: Film | Animation | Pictures,
    numbers: Sequence[int],
    shape: Shape,
    deinterlace: bool,
    held: list[int],
    notes: dict[str, None],
) -> Iterator[Tensor]:
    """A picture [H, W, 3] for each of the numbers, in order; fewer where the file ends early.

    Args:
        held: gets the places at which a picture stands once more, since the next cannot be decoded.
        notes: gets a remark where the size changes.
    Raises:
        VideoError: nothing can be decoded.
    """
    done, scaler, picture, size = 0, Scaler(), None, None
    columns = rows = 0
    for number, frame in film.frames(numbers[0], deinterlace):
        # A frame that could not be decoded: the previous one stays on the screen.
        while picture is not None and done < len(numbers) and numbers[done] < number:
            held.append(done)
            done += 1
            yield picture
        if done == len(numbers):
            return
        if number < numbers[done]:
            continue
        shown = (frame.width, frame.height)
        if size is None:
            columns, rows = shown_size(frame, film.pixel_aspect, shape)
            size = shown
        elif shown != size and shape.fit != "stretch":
            notes[_CHANGES_SIZE.format(*size, *shown, done)] = None
            shape = Shape(columns, rows, "stretch")
        picture = pixels(frame, film, shape, scaler)
        while done < len(numbers) and numbers[done] <= number:
            done += 1
            yield picture
        if done == len(numbers):
            return
    if not done:
        raise VideoError(f"No frame of {film.path.name} can be decoded; the file is damaged. Choose another file.")


def _remarks(
    film: Film | Animation | Pictures, deinterlace: bool, held: Sequence[int], done: int, count: int
) -> list[str]:
    """Remarks on a film, for the user.

    Args:
        held: the numbers of frames in whose place the one before stands.
        done, count: how many frames were read, of how many.
    """
    remarks = []
    if film.is_interlaced:
        remarks.append(_INTERLACED[deinterlace])
    if film.is_hdr:
        remarks.append("This is an HDR video; its light was toned down for an SDR screen.")
    if held and film.has_losses:
        remarks.append(
            f"The file is damaged: {_frames(len(held))} from number {held[0]} on could not be decoded; the frame "
            "before stands in their place."
        )
    # One less is no damage: GIFs and old AVIs end with a packet that holds no picture.
    if done < count - 1:
        remarks.append(
            f"The file is damaged or cut off: {done} of {count} frames could be read; the others are left out."
        )
    return remarks


def _frames(count: int) -> str:
    return f"{count} frames" if count > 1 else "1 frame"
