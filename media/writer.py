"""Frames to an H.264 MP4 that plays everywhere, streaming: memory does not grow with the video's length."""

import math
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .audio import AudioTrack
from .naming import check_name, create_temporary, disk_errors, give_final_name
from .pyav import av

MIN_FPS, MAX_FPS = Fraction(1, 100), 1000
# x264's own limit on a side, in pixels.
MAX_SIDE = 16384
# Numbers converted at a time: about 16 MiB of float32, so that a long clip never exists a second time as floats.
_PIECE_NUMBERS = 4 * 2**20
# ITU-T H.273 code points: 1 is BT.709 in colour primaries, transfer characteristics and matrix alike.
_BT709 = 1


class VideoWriter:
    """Writes frames, as they come, to `<folder>/<stem>_00001.mp4` (the first free number); a context manager.

    The file is H.264 yuv420p in BT.709 limited range with the index in front (faststart), sound as AAC. It grows under
    a hidden temporary name and gets its final one when the with-block ends well; any error or interrupt removes it.

    Args:
        folder: must exist.
        stem: a plain name, see `naming.check_name`.
        fps: frames per second, 0.01..1000; see `exact_fps`.
        width, height: of the frames, in pixels, 1..16384. An odd side is made even by repeating its last column or row.
        quality: 0 (smallest file) to 100 (closest to the frames); see `quality_to_crf`.
        audio: the host's AUDIO, see `AudioTrack`. It starts with the picture and is cut at the picture's end; a shorter
            one ends earlier. One of 0 samples counts as none.
        metadata: written as MP4 tags, read back equal by ComfyUI's page (keys "prompt" and "workflow", JSON) and PyAV;
            NUL characters and lone surrogates, which UTF-8 text cannot hold, become U+FFFD.
    Raises:
        ValueError: an argument is out of range; at the end: no frame was written.
        OutputError: the folder is missing, not writable, full or was removed.

    >>> with VideoWriter(folder, "clip", fps=16, width=64, height=48) as writer:  # doctest: +SKIP
    ...     writer.write(frames)
    >>> writer.path  # doctest: +SKIP
    PosixPath('.../clip_00001.mp4')
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        *,
        fps: float | Fraction,
        width: int,
        height: int,
        quality: int = 80,
        audio: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
    ):
        check_name(stem)
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise ValueError(f"The video would be {width}x{height} pixels; H.264 takes 1 to {MAX_SIDE} per side.")
        self._folder = Path(folder).absolute()  # FFmpeg would read a relative "a:b/c" as a protocol
        self._stem = stem
        self._fps = exact_fps(fps)
        self._width, self._height = width, height
        self._crf = quality_to_crf(quality)
        track = AudioTrack(audio) if audio is not None else None
        self._track = track if track is not None and track.samples else None
        self._metadata = {_utf8_text(key): _utf8_text(value) for key, value in (metadata or {}).items()}
        self._frames = 0
        self._temporary: Path | None = None
        self._container: Any = None
        self._path: Path | None = None

    @property
    def path(self) -> Path:
        """The finished file; RuntimeError before the with-block ended well."""
        if self._path is None:
            raise RuntimeError("The video is not finished; its path is known after the with-block.")
        return self._path

    def __enter__(self) -> "VideoWriter":
        if self._temporary is not None:
            raise RuntimeError("This VideoWriter was used before; make a new one for another file.")
        try:
            with disk_errors(self._folder):
                self._temporary = create_temporary(self._folder, self._stem, ".mp4")
                self._open(self._temporary)
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, frames: Tensor) -> None:
        """Append frames.

        Args:
            frames: [n, H, W, C] float, 0..1 (beyond is clipped), on any device. C 1 is grey, of C 4 alpha is dropped.
        Raises:
            ValueError: another shape or size, not floats, or NaN or infinite values.
            OutputError: see the class.
        """
        if self._container is None:
            raise RuntimeError("VideoWriter.write is called inside the with-block only.")
        self._check(frames)
        step = max(1, _PIECE_NUMBERS // frames[:1].numel()) if frames.shape[0] else 1
        matrix, span = av.video.reformatter.Colorspace.ITU709, av.video.reformatter.ColorRange
        for start in range(0, frames.shape[0], step):
            for picture in self._to_rgb8(frames[start : start + step]):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame = frame.reformat(
                    format="yuv420p",
                    src_colorspace=matrix,
                    dst_colorspace=matrix,
                    src_color_range=span.JPEG,
                    dst_color_range=span.MPEG,
                )
                frame.colorspace, frame.color_range = _BT709, span.MPEG
                frame.pts, frame.time_base = self._frames, 1 / self._fps
                with disk_errors(self._folder):
                    self._container.mux(self._video.encode(frame))
                self._frames += 1
            self._write_sound()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def _open(self, path: Path) -> None:
        if "libx264" not in av.codecs_available:
            raise RuntimeError("This PyAV has no libx264 encoder; install the 'av' wheel from PyPI.")
        # use_metadata_tags: own keys survive. faststart: players and ComfyUI's page need not read the file to its end.
        options = {"movflags": "use_metadata_tags+faststart"}
        self._container = av.open(str(path), "w", format="mp4", options=options)
        self._container.metadata.update(self._metadata)

        self._video = self._container.add_stream("libx264", rate=self._fps, options={"crf": f"{self._crf:g}"})
        self._video.width, self._video.height = _even(self._width), _even(self._height)
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = av.video.reformatter.ColorRange.MPEG

        if self._track is not None:
            rate, layout = self._track.encoded_rate, self._track.layout
            self._sound = self._container.add_stream("aac", rate=rate, layout=layout)

    def _check(self, frames: Tensor) -> None:
        """Raise ValueError unless `frames` fits this video; values are looked at piece by piece."""
        if not isinstance(frames, Tensor) or frames.ndim != 4 or frames.shape[-1] not in (1, 3, 4):
            found = list(frames.shape) if isinstance(frames, Tensor) else type(frames).__name__
            raise ValueError(
                f"Frames are {found}; expected a tensor [frames, height, width, channels] with 1, 3 or 4 channels."
            )
        if not frames.is_floating_point():
            raise ValueError(f"Frames are {frames.dtype}; expected floating point numbers from 0 to 1.")
        _, height, width, _ = frames.shape
        if (width, height) != (self._width, self._height):
            raise ValueError(
                f"Frame {self._frames + 1} is {width}x{height}, the video is {self._width}x{self._height}; "
                "resize the frames so that all have one size."
            )

    def _to_rgb8(self, frames: Tensor) -> np.ndarray:
        """[n, H, W, C] 0..1 -> [n, even H, even W, 3] uint8, rounded to nearest, on the CPU."""
        bad = ~torch.isfinite(frames).flatten(1).all(dim=1)
        if bad.any():
            first = self._frames + 1 + int(bad.int().argmax())
            raise ValueError(
                f"Frame {first} has NaN or infinite values; the model or its decoder overflowed. "
                "Try dtype bf16 or fp32, or a lower cfg."
            )
        pixels = (frames[..., :3].detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        pixels = pixels.expand(*pixels.shape[:3], 3).contiguous().numpy()
        if self._width % 2 or self._height % 2:
            pixels = np.pad(pixels, ((0, 0), (0, self._height % 2), (0, self._width % 2), (0, 0)), mode="edge")
        return pixels

    def _write_sound(self) -> None:
        """Bring the sound up to the picture written so far, so that the two lie interleaved in the file."""
        if self._track is None:
            return
        for frame in self._track.frames(self._frames / self._fps):
            with disk_errors(self._folder):
                self._container.mux(self._sound.encode(frame))

    def _finish(self) -> None:
        if not self._frames:
            raise ValueError("The video has no frames; a video needs at least one.")
        assert self._temporary is not None
        with disk_errors(self._folder):
            self._container.mux(self._video.encode(None))
            if self._track is not None:
                self._container.mux(self._sound.encode(None))
            self._container.close()
            self._path = give_final_name(self._temporary, self._stem, ".mp4")

    def _discard(self) -> None:
        """Let go of the file; what has no final name yet is removed."""
        container, self._container = self._container, None
        try:
            if container is not None:
                with suppress(Exception):  # a full disk fails once more here, and was reported before
                    container.close()
        finally:
            if self._temporary is not None:
                with suppress(OSError):
                    self._temporary.unlink(missing_ok=True)


def exact_fps(fps: float | Fraction) -> Fraction:
    """Frames per second as a fraction: NTSC rates (23.976, 29.97, 59.94, ...) as n * 1000/1001, others to three digits.

    Raises:
        ValueError: not a number from 0.01 to 1000.

    >>> exact_fps(16.0), exact_fps(23.976), exact_fps(12.5)
    (Fraction(16, 1), Fraction(24000, 1001), Fraction(25, 2))
    """
    if isinstance(fps, bool) or not isinstance(fps, Real) or not math.isfinite(fps) or not MIN_FPS <= fps <= MAX_FPS:
        raise ValueError(f"fps is {fps!r}; expected a number from {float(MIN_FPS)} to {MAX_FPS} frames per second.")
    if isinstance(fps, Fraction):
        return fps.limit_denominator(90_000)
    for n in (24, 30, 48, 60, 90, 120, 240):
        if abs(fps - n * 1000 / 1001) < 0.005:
            return Fraction(n * 1000, 1001)
    return Fraction(float(fps)).limit_denominator(1000)


def quality_to_crf(quality: float) -> float:
    """libx264's constant rate factor, 51 - 0.4 * quality: 100 -> 11 (no visible loss), 80 -> 19, 50 -> 31, 0 -> 51.

    It stays above 0 because x264's lossless mode needs a profile that browsers do not play.

    Raises:
        ValueError: quality is not a number from 0 to 100.
    """
    if isinstance(quality, bool) or not isinstance(quality, Real) or not 0 <= quality <= 100:
        raise ValueError(f"quality is {quality!r}; expected a number from 0 (smallest file) to 100 (best).")
    return 51 - 0.4 * float(quality)


def _even(side: int) -> int:
    return side + side % 2


def _utf8_text(text: str) -> str:
    """The text as MP4 can hold it: surrogate pairs joined, lone surrogates and NUL replaced by U+FFFD."""
    if not isinstance(text, str):
        raise ValueError(f"metadata holds {type(text).__name__}; expected texts (use json.dumps for objects).")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
