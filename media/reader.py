"""Video files to frames and sound: exact frames, constant rate, memory for the result only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .pyav import av
from .reader_sound import read_sound
from .timeline import Timeline, VideoError, read_timeline

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
)
FITS = ("crop", "fit")
# ITU-T H.273 matrix of a frame -> what swscale calls it; unknown ones go by size, as players do.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT709, _BT601 = 1, 5
_FULL_RANGE = 2
# swscale's SWS_BICUBIC | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND: without the latter two, half of all greys come out
# one level too dark. 13 ms a frame of 832 x 480 instead of 1.3 (2 CPU cores, 2026-11-21).
_EXACT_BICUBIC = 4 | 0x2000 | 0x40000


@dataclass
class Video:
    """What `read_video` gives.

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
    report: Callable[[int, int], None] | None = None,
) -> Video:
    """Read a stretch of a video.

    Every frame stands at its own time in the file: a variable rate becomes the file's average one by showing each
    moment's frame, and so does another `fps`. A turned phone video comes upright, non-square pixels become square.

    Args:
        start: frames to leave out in front, counted at `fps`.
        count: frames to give at most; 0: all.
        every: 2 takes every second frame, and so on; the rate falls with it, so that the speed stays.
        fps: frames per second to read at; 0: the file's own.
        width, height: of the frames in pixels; 0: the file's own, or what keeps the shape where the other is given.
        fit: where both are given. "crop": fill them and cut what juts out; "fit": the largest picture inside them.
        report: called with frames done and frames in all; may raise.
    Raises:
        VideoError: no video, damaged, or nothing in the range.
        ValueError: a number is out of range.
    """
    _check(start, count, every, fps, width, height, fit)
    with _opened(path) as container:
        stream = container.streams.video[0]
        timeline = read_timeline(path, container, stream)
        rate = Fraction(fps).limit_denominator(90_000) if fps else timeline.fps
        wanted = timeline.pick(rate, start, count, every)
        if not wanted:
            raise VideoError(
                f"{path.name} has {timeline.length(rate)} frames at {float(rate):g} fps; leaving out {start} in front "
                "leaves none. Make start smaller."
            )
        frames = _read_frames(path, container, stream, timeline, wanted, _Shape(width, height, fit), report)
        remarks = []
        # One less is no damage: GIFs and old AVIs end with a packet that holds no picture.
        if len(frames) < len(wanted) - 1:
            remarks.append(
                f"The file is damaged or cut off: {len(frames)} of {len(wanted)} frames could be read; "
                "the others are left out."
            )
        if stream.codec_context.color_trc in (16, 18):
            remarks.append("This is an HDR video; its brightness was not converted, so that it looks pale.")
    first, seconds = Fraction(start) / rate, Fraction(len(frames) * every) / rate
    with _opened(path) as container:
        audio = read_sound(container, timeline.start + first, seconds) if container.streams.audio else None
    return Video(frames, rate / every, audio, remarks)


@dataclass(frozen=True)
class _Shape:
    width: int
    height: int
    fit: str

    def sizes(self, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """The size to scale a picture of width x height to, and the size to cut out of its middle."""
        if not (self.width or self.height):
            return (width, height), (width, height)
        if not (self.width and self.height):
            factor = self.width / width if self.width else self.height / height
            scaled = self.width or max(1, round(width * factor)), self.height or max(1, round(height * factor))
            return scaled, scaled
        factors = self.width / width, self.height / height
        factor = max(factors) if self.fit == "crop" else min(factors)
        scaled = max(1, round(width * factor)), max(1, round(height * factor))
        if self.fit == "fit":
            return scaled, scaled
        return (max(scaled[0], self.width), max(scaled[1], self.height)), (self.width, self.height)


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


def _opened(path: Path) -> Any:
    """The open file; it has a video.

    Raises:
        VideoError: it has none, or is no media file.
    """
    try:
        # Absolute: FFmpeg would read a relative "a:b/c" as a protocol.
        container = av.open(str(path.absolute()))
    except FileNotFoundError as error:
        raise VideoError(f"{path.name} is not there (any more). Choose another file.") from error
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{path.name} is no video that can be read ({error.strerror}). Choose another file."
        ) from error
    if not container.streams.video or container.streams.video[0].codec_context is None:
        container.close()
        raise VideoError(f"{path.name} holds no video, only sound or text. Choose another file.")
    return container


def _read_frames(
    path: Path,
    container: Any,
    stream: Any,
    timeline: Timeline,
    wanted: list[int],
    shape: _Shape,
    report: Callable[[int, int], None] | None,
) -> Tensor:
    """[n, H, W, 3] of the wanted frames; shorter where the file ends early."""
    stream.thread_type = "AUTO"
    result, done = torch.empty(0), 0
    for number, frame in _decoded(container, stream, timeline, wanted[0]):
        if number < wanted[done]:
            continue
        picture = _picture(frame, stream, shape)
        if not done:
            result = torch.empty(len(wanted), *picture.shape)
        elif picture.shape != result.shape[1:]:
            break  # a stream that changes its size midway; what follows is left out, and the reader says so
        while done < len(wanted) and wanted[done] <= number:
            result[done] = picture
            done += 1
        if report:
            report(done, len(wanted))
        if done == len(wanted):
            break
    if not done:
        raise VideoError(f"No frame of {path.name} can be decoded; the file is damaged. Choose another file.")
    return result[:done]


def _decoded(container: Any, stream: Any, timeline: Timeline, first: int) -> Iterator[tuple[int, Any]]:
    """(number, frame) from `first` at the latest, decoded from a keyframe at or before it."""
    numbers = {time: n for n, time in enumerate(timeline.times)}

    def frames() -> Iterator[tuple[int, Any]]:
        count = 0
        try:
            for frame in container.decode(stream):
                known = timeline.can_seek and frame.pts is not None
                yield (numbers.get(frame.pts * stream.time_base, -1) if known else count), frame
                count += 1
        except (av.error.FFmpegError, EOFError):
            return

    if first and timeline.can_seek:
        container.seek(int(timeline.times[first] / stream.time_base), stream=stream, backward=True)
        rest = frames()
        head = next(rest, None)
        # Some containers land behind the wanted frame; then everything is decoded from the start.
        if head is not None and 0 <= head[0] <= first:
            yield head
            yield from rest
            return
    container.seek(0)
    yield from frames()


def _picture(frame: Any, stream: Any, shape: _Shape) -> Tensor:
    """[H, W, 3] float32 0..1: scaled, in sRGB-like full range, upright and cut to size."""
    turns = round(frame.rotation / 90) % 4
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = max(1, round(frame.width * aspect)), frame.height
    if turns % 2:
        width, height = height, width
    scaled, cut = shape.sizes(width, height)
    wide = any(component.bits > 8 for component in frame.format.components)
    rgb = frame.reformat(
        width=scaled[1 if turns % 2 else 0],
        height=scaled[0 if turns % 2 else 1],
        format="rgb48le" if wide else "rgb24",
        interpolation=_EXACT_BICUBIC,
        **_colours(frame),
    )
    pixels = np.rot90(rgb.to_ndarray(), turns)
    top, left = (scaled[1] - cut[1]) // 2, (scaled[0] - cut[0]) // 2
    pixels = pixels[top : top + cut[1], left : left + cut[0]]
    if wide:
        return torch.from_numpy(pixels.astype(np.float32)) / 65535
    return torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255


def _colours(frame: Any) -> dict[str, Any]:
    """How `reformat` is to read a YUV frame; RGB needs no word."""
    if frame.format.is_rgb or frame.format.has_palette:
        return {}
    matrix = _MATRICES.get(int(frame.colorspace), _BT709 if frame.height >= 720 else _BT601)
    is_full = int(frame.color_range) == _FULL_RANGE or frame.format.name.startswith("yuvj")
    return {
        "src_colorspace": matrix,
        # RGB has no matrix. PyAV before 17 reads the source's only where the two differ.
        "dst_colorspace": _BT601 if matrix != _BT601 else _BT709,
        "src_color_range": av.video.reformatter.ColorRange.JPEG if is_full else av.video.reformatter.ColorRange.MPEG,
        "dst_color_range": av.video.reformatter.ColorRange.JPEG,
    }
