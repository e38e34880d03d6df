"""The sound of a stretch of a video file, in step with its frames."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .film import Clock, decoded, moving_pictures, opened, packets
from .memory import check_sound
from .pyav import av
from .timeline import VideoError

# Seconds that a decoder needs before its output is right.
_RUN_UP = 1
# Seconds that there is room for at the first sample.
_ROOM = 60


def read_sound(
    path: Path, start: Fraction, seconds: Fraction, jumping: str = ""
) -> tuple[dict[str, Any] | None, list[str]]:
    """(the host's AUDIO from `start` on the file's clock for at most `seconds`, or None where it is silent; remarks).

    Samples stand at their own times: a gap in the sound is silence, and so is a sound that begins late or a packet that
    cannot be decoded. The first track that can be decoded counts. Channels stand in the file's order.

    Args:
        jumping: the container's name where the file's clock jumps, see `film.Clock`.
    """
    with opened(path) as container:
        track = next((n for n, s in enumerate(container.streams.audio) if s.codec_context is not None), None)
        if track is None:
            return None, ["The file's sound is in a format that cannot be decoded here: it is left out."]
    lost: list[Fraction] = []
    if start > _RUN_UP and not jumping:
        track_of = _Track(path, track, start, seconds, lost.append)
        try:
            wave = track_of.read(seek=True)
            if track_of.began is None or track_of.began <= start:
                return _audio(wave, track_of.rate), _lost_remarks(lost)
        except av.error.FFmpegError:
            pass  # this container cannot seek: read from the beginning
        lost.clear()
    whole = _Track(path, track, start, seconds, lost.append)
    return _audio(whole.read(jumping=jumping), whole.rate), _lost_remarks(lost)


def read_whole_sound(path: Path) -> tuple[dict[str, Any], list[str]]:
    """(the host's AUDIO of a file from its first sample to its last, remarks); see `read_sound`.

    Raises:
        VideoError: the file has no sound, or none that can be decoded.
    """
    try:
        with opened(path, "sound") as container:
            stream = next((s for s in container.streams.audio if s.codec_context is not None), None)
            frame = None if stream is None else next(decoded(container, stream, lambda packet: None), None)
            start = Fraction(0) if frame is None or frame.pts is None else frame.pts * frame.time_base
        with opened(path, "sound") as container:
            # Not the duration that the header states: an MP3's is a guess from its bit rate.
            track = next((s for s in container.streams.audio if s.codec_context is not None), None)
            times = [
                ((packet.pts or 0) + (packet.duration or 0)) * packet.time_base
                for packet in (packets(container, track) if frame is not None else ())
            ]
        sound, remarks = None, []
        if times:
            sound, remarks = read_sound(path, start, max(*times, start) - start + _RUN_UP)
    except av.error.FFmpegError as error:
        raise VideoError(f"{path.name} cannot be read; the file may be damaged. Choose another file.") from error
    if sound is None:
        raise VideoError(f"{path.name} has no sound that can be decoded; choose another file.")
    return sound, remarks


class _Track:
    """One way through a sound track.

    Attributes:
        rate: samples a second, of the first frame that is decoded.
        began: when the first frame that was decoded stands.
    """

    def __init__(self, path: Path, track: int, start: Fraction, seconds: Fraction, lost: Callable[[Fraction], Any]):
        self._path, self._track, self._start, self._seconds = path, track, start, seconds
        self._lost, self._resamplers = lost, dict[Any, Any]()
        self.rate, self.began = 0, None

    def read(self, seek: bool = False, jumping: str = "") -> np.ndarray | None:
        """[C, samples] float32, or None where there is nothing."""
        wave, end, follows, length, close = np.zeros((0, 0), np.float32), 0, None, 0, 0
        for time, frame in self._frames(seek, jumping):
            if not self.rate:
                self.rate = frame.sample_rate
                length = int(self._seconds * self.rate)
                # Matroska rounds times to milliseconds, so a piece that begins close behind the previous one is joined
                # to it.
                close = self.rate // 100
            if time is None:
                position = follows or 0
            else:
                self.began = time if self.began is None else self.began
                position = round((time - self._start) * self.rate)
                if follows is not None and abs(position - follows) <= close:
                    position = follows
            if position >= length:
                break
            for samples in self._samples(frame):
                skipped = max(0, -position)
                piece = samples[:, skipped : skipped + max(0, length - max(0, position))]
                begin = max(0, position)
                wave = self._lengthened(wave, samples.shape[0], begin + piece.shape[1], length)
                wave[:, begin : begin + piece.shape[1]] = piece
                end = max(end, begin + piece.shape[1]) if piece.shape[1] else end
                position += samples.shape[1]
            follows = position
        return wave[:, :end] if end else None

    def _lengthened(self, wave: np.ndarray, channels: int, end: int, length: int) -> np.ndarray:
        """The wave with room for `end` samples, silence behind; it doubles, up to `length`.

        Not `length` from the start: with a damaged time in the file that may be years.

        Raises:
            VideoError: more than the memory that is free.
        """
        if wave.shape[0] and end <= wave.shape[1]:
            return wave
        room = min(length, max(end, 2 * wave.shape[1], self.rate * _ROOM))
        check_sound(self._path.name, room, channels, self.rate)
        longer = np.zeros((channels, room), np.float32)
        longer[: wave.shape[0], : wave.shape[1]] = wave
        return longer

    def _frames(self, seek: bool, jumping: str) -> Iterator[tuple[Fraction | None, Any]]:
        """(time on the file's clock, frame)."""
        with opened(self._path) as container:
            stream = container.streams.audio[self._track]
            _count_channels(stream.codec_context)
            if jumping:
                yield from self._shifted(container, stream, jumping)
                return
            if seek:
                container.seek(int((self._start - _RUN_UP) / stream.time_base), stream=stream, backward=True)
            for frame in decoded(container, stream, lambda packet: self._miss(packet, Fraction(0))):
                yield (None if frame.pts is None else frame.pts * frame.time_base), frame

    def _shifted(self, container: Any, stream: Any, jumping: str) -> Iterator[tuple[Fraction | None, Any]]:
        """The same with the jumps of the file's clock taken out, as they were for the pictures."""
        clock, pictures = Clock(jumping), moving_pictures(self._path, container)
        for packet in packets(container, pictures, *(s for s in container.streams.audio if s.codec_context)):
            offset = clock.offset(packet)
            if packet.stream.index != stream.index:
                continue
            try:
                frames = packet.decode()
            except (EOFError, av.error.FFmpegError):
                self._miss(packet, offset)
                continue
            for frame in frames:
                yield (None if frame.pts is None else frame.pts * frame.time_base + offset), frame

    def _miss(self, packet: Any, offset: Fraction) -> None:
        if packet.pts is None:
            return
        time = packet.pts * packet.time_base + offset - self._start
        if -(packet.duration or 0) * packet.time_base < time < self._seconds:
            self._lost(max(time, Fraction(0)))

    def _samples(self, frame: Any) -> Iterator[np.ndarray]:
        """[C, n] float32 of a frame, in the rate and the channels of the first one.

        Packed, since PyAV reads behind the end of a planar frame with eight channels or more.
        """
        kind = frame.format.name, frame.layout.name, frame.sample_rate
        if kind not in self._resamplers:
            if not self._resamplers:
                self._layout = frame.layout.name
            self._resamplers[kind] = av.AudioResampler(format="flt", layout=self._layout, rate=self.rate)
        for piece in self._resamplers[kind].resample(frame):
            channels = piece.layout.nb_channels
            yield np.ascontiguousarray(piece.to_ndarray().reshape(-1, channels).T)


def _count_channels(codec: Any) -> None:
    """Tell the decoder the number of channels alone where a file lists them one by one, as QuickTime files may.

    PyAV (seen with 18.1) gives such a list to each frame and each layout object, and every one of them frees it: the
    process ends. Here one object asks for it and takes it out of the decoder, so that it is freed once.
    """
    layout = codec.layout
    listed = re.match(r"(\d+) channels \(", layout.name)
    if listed:
        codec.layout = f"{listed[1]} channels"


def _audio(wave: np.ndarray | None, rate: int) -> dict[str, Any] | None:
    return None if wave is None else {"waveform": torch.from_numpy(wave[None].copy()), "sample_rate": rate}


def _lost_remarks(lost: list[Fraction]) -> list[str]:
    if not lost:
        return []
    more = f" and {len(lost) - 1} more places" if len(lost) > 1 else ""
    return [f"The sound is damaged at {float(lost[0]):.2f} s{more}: what could not be decoded is silence."]
