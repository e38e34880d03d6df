"""Frames to a video file, streaming: memory does not grow with the video's length."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .audio import AudioTrack
from .container import ContainerSink
from .encoders import AAC_RATES
from .gif import GifSink
from .growing_sound import GrowingSound
from .naming import check_name, create_temporary, create_temporary_folder, disk_errors, give_final_name
from .png import PngSink
from .settings import SaveSettings, exact_fps
from .sink import Job, Sink
from .webp import WebpSink

# Numbers converted at a time: about 4 MiB of float32, which mostly stay in the processor's cache.
_PIECE_NUMBERS = 2**20
_OWN_SINKS = {"gif": GifSink, "webp": WebpSink, "png sequence": PngSink}


class VideoWriter:
    """Writes frames, as they come, to `<folder>/<stem>_00001.mp4` (the first free number); a context manager.

    Colours are BT.709 in limited range where the format stores YUV, else RGB. The file grows under a hidden temporary
    name and gets its final one when the with-block ends well; any error or interrupt removes it.

    Args:
        folder: must exist.
        stem: a plain name, see `naming.check_name`.
        settings: format, quality and the like.
        fps: frames per second, 0.01..1000 (GIF: to 50); see `exact_fps`.
        width, height: of the frames, in pixels.
        audio: the host's AUDIO, see `AudioTrack`, or a sound that grows while the frames come. It starts with the
            picture and is cut at the picture's end. One of 0 samples counts as none. A format without sound leaves it
            out and says so in `remarks`.
        metadata: texts, read back equal by PyAV and, where the format says so, restored by ComfyUI's page (keys
            "prompt" and "workflow", JSON); NUL characters and lone surrogates, which UTF-8 text cannot hold, become
            U+FFFD.
        is_numbered: False: the file is `<folder>/<stem>.mp4`, and one that is there is replaced.
    Raises:
        ValueError: an argument is out of range; at the end: no frame was written.
        OutputError: the folder is missing, not writable, full or was removed.
        RuntimeError: PyAV lacks the encoder.

    Attributes:
        remarks: what the format could not keep, in words for the user.

    >>> settings = SaveSettings("webm vp9")
    >>> with VideoWriter(folder, "clip", settings, fps=16, width=64, height=48) as writer:  # doctest: +SKIP
    ...     writer.write(frames)
    >>> writer.path  # doctest: +SKIP
    PosixPath('.../clip_00001.webm')
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        settings: SaveSettings | None = None,
        *,
        fps: float | Fraction,
        width: int,
        height: int,
        audio: Mapping[str, Any] | GrowingSound | None = None,
        metadata: Mapping[str, str] | None = None,
        is_numbered: bool = True,
    ):
        check_name(stem)
        self._settings = settings = settings or SaveSettings()
        settings.check(fps)
        self._fps, self._format, self._bits = exact_fps(fps), settings.kind, settings.bits
        self._size = (width, height)
        self._stored = settings.stored_size(width, height)
        self._folder = Path(folder).absolute()
        self._stem, self._is_numbered = stem, is_numbered
        self.remarks: list[str] = []
        self._track = self._sound(audio, settings.audio_length == "pad")
        self._metadata = {_utf8_text(key): _utf8_text(value) for key, value in (metadata or {}).items()}
        self._channels = 0
        self._frames = 0
        self._numbers: np.ndarray | None = None
        self._temporary: Path | None = None
        self._sink: Sink | None = None
        self._path: Path | None = None
        self._ended = False

    @property
    def path(self) -> Path:
        """The finished file or folder; RuntimeError before the with-block ended well."""
        if self._path is None:
            raise RuntimeError("The video is not finished; its path is known after the with-block.")
        return self._path

    def __enter__(self) -> VideoWriter:
        if self._temporary is not None:
            raise RuntimeError("This VideoWriter was used before; make a new one for another file.")
        with disk_errors(self._folder):
            if self._format.suffix:
                self._temporary = create_temporary(self._folder, self._stem, self._format.suffix)
            else:
                self._temporary = create_temporary_folder(self._folder, self._stem)
        return self

    def write(self, frames: Tensor) -> None:
        """Append frames.

        Args:
            frames: [n, H, W, C] float, 0..1 (beyond is clipped), on any device. C 1 is grey. Of C 4 the last is alpha
                (not premultiplied), left out where the format has none.
        Raises:
            ValueError: another shape or size, not floats, or NaN or infinite values.
            OutputError: see the class.
        """
        if self._temporary is None or self._ended:
            raise RuntimeError("VideoWriter.write is called inside the with-block only.")
        self._check(frames)
        step = max(1, _PIECE_NUMBERS // frames[:1].numel()) if frames.shape[0] else 1
        for start in range(0, frames.shape[0], step):
            for picture in self._to_pixels(frames[start : start + step]):
                with disk_errors(self._folder):
                    if self._sink is None:
                        self._sink = self._open(picture.shape[2] == 4)
                    self._sink.write(picture)
                self._frames += 1

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def _sound(self, audio: Mapping[str, Any] | GrowingSound | None, pad: bool) -> AudioTrack | None:
        if audio is None:
            return None
        sound = self._format.sound
        rates = sound.rates if sound else AAC_RATES
        track = audio.track(rates, pad) if isinstance(audio, GrowingSound) else AudioTrack(audio, rates, pad)
        if not track.samples and not isinstance(audio, GrowingSound):
            return None
        if sound is None:
            self.remarks.append(f"The sound was left out: {self._format.key} has none.")
            return None
        return track

    def _open(self, has_alpha: bool) -> Sink:
        assert self._temporary is not None
        job = Job(
            path=self._temporary,
            stem=self._stem,
            settings=self._settings,
            fps=self._fps,
            width=self._stored[0],
            height=self._stored[1],
            has_alpha=has_alpha,
            track=self._track,
            metadata=self._metadata,
        )
        return _OWN_SINKS.get(self._format.key, ContainerSink)(job)

    def _check(self, frames: Tensor) -> None:
        """Raise ValueError unless `frames` fits this video; values are looked at piece by piece."""
        if not isinstance(frames, Tensor) or frames.ndim != 4 or frames.shape[-1] not in (1, 3, 4):
            shape = list(frames.shape) if isinstance(frames, Tensor) else type(frames).__name__
            raise ValueError(
                f"Frames are {shape}; expected a tensor [frames, height, width, channels] with 1, 3 or 4 channels."
            )
        if not frames.is_floating_point():
            raise ValueError(f"Frames are {frames.dtype}; expected floating point numbers from 0 to 1.")
        _, height, width, channels = frames.shape
        if (width, height) != self._size:
            raise ValueError(
                f"Frame {self._frames + 1} is {width}x{height}, the video is {self._size[0]}x{self._size[1]}; "
                "resize the frames so that all have one size."
            )
        if channels == 4 and not self._format.alpha and not self._channels:
            self.remarks.append(f"The alpha channel was left out: {self._format.key} has none.")
        if self._channels and self._format.alpha and (channels == 4) != (self._channels == 4):
            raise ValueError(
                f"Frame {self._frames + 1} has {channels} channels, the video began with {self._channels}; "
                "give all frames an alpha channel, or none."
            )
        self._channels = self._channels or channels

    def _to_pixels(self, frames: Tensor) -> np.ndarray:
        """[n, H, W, C] 0..1 -> [n, H', W', 3 or 4] uint8 or uint16 of the stored size, rounded to nearest.

        numpy's steps stay in this thread: torch's threads would spin for cores that the encoder is using.
        """
        numbers = frames.detach().float().cpu().numpy()
        channels = 4 if frames.shape[-1] == 4 and self._format.alpha else 3
        width, height = self._stored
        kept = numbers[:, :height, :width, :channels]
        if self._numbers is None or self._numbers.shape != kept.shape:
            # One buffer for all pieces, because allocating takes as long as the arithmetic.
            self._numbers = np.empty(kept.shape, np.float32)
        top, kind = (255, np.uint8) if self._bits == 8 else (65535, np.uint16)
        with np.errstate(over="ignore", invalid="ignore"):
            # The sum is finite only if all values are, and quicker to get; huge values may exceed it.
            if not np.isfinite(numbers.sum()):
                self._check_finite(numbers)
            np.multiply(kept, np.float32(top), out=self._numbers)
        np.clip(np.rint(self._numbers, out=self._numbers), 0, top, out=self._numbers)
        pixels = self._numbers.astype(kind)
        if pixels.shape[-1] < channels:
            pixels = np.repeat(pixels, channels, axis=-1)
        if pixels.shape[1:3] != (height, width):
            rows, columns = height - pixels.shape[1], width - pixels.shape[2]
            pixels = np.pad(pixels, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="edge")
        return pixels

    def _check_finite(self, frames: np.ndarray) -> None:
        bad = ~np.isfinite(frames).all(axis=(1, 2, 3))
        if bad.any():
            raise ValueError(
                f"Frame {self._frames + 1 + int(bad.argmax())} has NaN or infinite values; the model or its decoder "
                "overflowed. Try dtype bf16 or fp32, or a lower cfg."
            )

    def _finish(self) -> None:
        if self._sink is None:
            raise ValueError("The video has no frames; a video needs at least one.")
        assert self._temporary is not None
        with disk_errors(self._folder):
            self._sink.finish()
            self._sink.close()
            if self._is_numbered:
                self._path = give_final_name(self._temporary, self._stem, self._format.suffix)
            else:
                self._path = self._temporary.replace(self._folder / f"{self._stem}{self._format.suffix}")
        if self._track is not None:
            self.remarks += self._track.remarks

    def _discard(self) -> None:
        """Let go of the file; what has no final name yet is removed."""
        sink, self._sink, self._ended = self._sink, None, True
        try:
            if sink is not None:
                with suppress(Exception):  # a full disk fails once more here, and was reported before
                    sink.close()
        finally:
            if self._temporary is not None:
                with suppress(OSError):
                    if self._format.suffix:
                        self._temporary.unlink(missing_ok=True)
                    elif self._temporary.is_dir():
                        shutil.rmtree(self._temporary)


def _utf8_text(text: str) -> str:
    """The text as files can hold it: surrogate pairs joined, lone surrogates and NUL replaced by U+FFFD."""
    if not isinstance(text, str):
        raise ValueError(f"metadata holds {type(text).__name__}; expected texts (use json.dumps for objects).")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
