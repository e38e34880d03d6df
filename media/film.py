"""A video file opened by FFmpeg: its timeline, frames and sound, without damaged packets, which remarks report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

from . import hdr
from .deinterlace import deinterlaced
from .pyav import av
from .timeline import Timeline, VideoError, counted, stated_rate, timed

# Containers that hold no display times: libavformat's guesses fail where frames are reordered.
_WITHOUT_TIMES = {"avi", "h264", "hevc", "m4v", "mpegvideo", "vc1"}
# Containers whose clock may jump: live recordings, broadcasts, files joined by copying one behind the other.
_JUMPING = {"mpegts", "mpeg", "flv", "asf", "live_flv"}
# Seconds; a still picture is shown for less, a clock that starts anew is further away.
_JUMP = 10
# Containers whose header states the length.
_STATING = ("mov", "matroska", "flv", "avi")
# The ASF File Properties Object, and where in it the size of the whole file stands.
_ASF_PROPERTIES, _ASF_SIZE = UUID("8cabdca1-a947-11cf-8ee4-00c00c205365").bytes_le, 40
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC: the cover of a song


class _Damage(Exception):
    """A packet that cannot be decoded, met by a decoder of several threads."""


class Film:
    """A video file.

    Attributes:
        timeline: of the first stream with moving pictures.
        codec: FFmpeg's name of the decoder.
        pixel_aspect: width of a pixel by its height.
        is_hdr: the light is coded by SMPTE ST 2084 (PQ) or ARIB STD-B67 (HLG).
        is_interlaced: one of the frames that were decoded is.
        has_losses: a packet could not be decoded.
        has_sound: there is a sound track, readable or not.
        jumping: the container's name where the file's clock jumps, else ""; see `Clock`.
        remarks: what is wrong with the file as a whole.
    Raises:
        VideoError: no video, or nothing in it can be decoded.
    """

    def __init__(self, path: Path):
        self.path, self.remarks, self.jumping = path, list[str](), ""
        self.has_losses, self.is_interlaced = False, False
        with opened(path) as container:
            stream = moving_pictures(path, container)
            self.format = container.format.name
            self.pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
            self.transfer = int(stream.codec_context.color_trc)
            self.codec = stream.codec_context.name
            self.has_sound = bool(container.streams.audio)
            self.timeline = self._read_timeline(container, stream)

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (hdr.PQ, hdr.HLG)

    def frames(self, first: int, deinterlace: bool = False) -> Iterator[tuple[int, Any]]:
        """(number, frame) from `first` at the latest, in order. A frame that cannot be decoded is missing."""
        numbered = self._decoded(first)
        return deinterlaced(numbered) if deinterlace else numbered

    def _decoded(self, first: int) -> Iterator[tuple[int, Any]]:
        last, threads = -1, "AUTO"
        seeks = bool(first and self.timeline.ticks) and self.format not in _JUMPING
        while True:
            try:
                for number, frame in self._pass(first if seeks else 0, threads):
                    if last < 0 and seeks and not 0 <= number <= first:
                        break  # the seek landed after the wanted frame: decode the whole file instead
                    if number > last:
                        self.is_interlaced |= bool(frame.interlaced_frame)
                        yield number, frame
                        last = number
                else:
                    return
                seeks = False
            except _Damage:
                # With threads, a decoder returns a damaged packet's frame and the following ones in pieces; with one
                # thread only that packet is lost.
                threads = "NONE"
            except av.error.FFmpegError:
                if not seeks:
                    raise
                seeks = False

    def _pass(self, first: int, threads: str) -> Iterator[tuple[int, Any]]:
        """(number, frame) of one way through the file, decoded from a keyframe at or before `first`."""
        numbers = {tick: n for n, tick in enumerate(self.timeline.ticks)}

        def lost(packet: Any) -> None:
            if threads != "NONE":
                raise _Damage
            self.has_losses = True

        with opened(self.path) as container:
            stream = moving_pictures(self.path, container)
            stream.thread_type = threads
            if first:
                container.seek(self.timeline.ticks[first], stream=stream, backward=True)
            for count, frame in enumerate(decoded(container, stream, lost)):
                yield (numbers.get(frame.pts, -1) if numbers else count), frame

    def _read_timeline(self, container: Any, stream: Any) -> Timeline:
        """Read the whole file once without decoding it: the times of all packets."""
        clock, stamps, without, size = Clock(self.format), list[tuple[Fraction, int]](), 0, 0
        ends = list[Fraction]()
        for packet in packets(container, *_timed_streams(container, stream)):
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is not None:
                offset = clock.offset(packet)
                ends.append((stamp + (packet.duration or 0)) * packet.time_base + offset)
            if packet.stream.index != stream.index:
                continue
            if packet.is_discard:
                continue
            size += 1
            if packet.pts is None:
                without += 1
            else:
                stamps.append((packet.pts * stream.time_base + clock.now, packet.pts))
        if not size:
            raise VideoError(f"{self.path.name} has no frames. Choose another file.")
        self.jumping = self.format if clock.now else ""
        self._tell_cut_off(container, stream, size, max(ends, default=Fraction(0)))
        fps = stated_rate(stream.average_rate or stream.base_rate)
        # Frames are counted where they carry no times, or the same one twice.
        if without or self.format in _WITHOUT_TIMES or len({tick for _, tick in stamps}) < len(stamps):
            return counted(size, fps)
        return self._from_first_decoded(timed(stamps, fps))

    def _from_first_decoded(self, timeline: Timeline) -> Timeline:
        """Without what stands in front of the first frame that a decoder gives.

        A recording that was cut out of a longer one begins with frames whose keyframe is gone.
        """
        self.timeline = timeline
        try:
            first = next((n for n, _ in self._pass(0, "NONE") if n >= 0), None)
        except av.error.FFmpegError:
            first = None
        if first is None:
            raise VideoError(f"No frame of {self.path.name} can be decoded; the file is damaged. Choose another file.")
        self.has_losses = False  # frames in front of the first decoded one are no damage
        return Timeline(timeline.times[first:], timeline.fps, timeline.ticks[first:])

    def _tell_cut_off(self, container: Any, stream: Any, frames: int, end: Fraction) -> None:
        """Say that the file ends before it should, where it states how much there should be."""
        if self.format.split(",")[0] in _STATING:
            stated = Fraction(container.duration or 0, 1_000_000) + Fraction(container.start_time or 0, 1_000_000)
            if stream.frames > frames + max(2, frames // 50):
                self.remarks.append(
                    f"The file is damaged or cut off: it holds {frames} of the {stream.frames} frames that it states."
                )
            elif stated - end > max(Fraction(1, 2), stated / 50):
                self.remarks.append(
                    f"The file is damaged or cut off: it holds {float(end):.1f} of the {float(stated):.1f} seconds "
                    "that it states."
                )
        elif self.format == "asf":
            with self.path.open("rb") as file:
                head = file.read(4096)
            place = head.find(_ASF_PROPERTIES)
            stated_size = int.from_bytes(head[place + _ASF_SIZE : place + _ASF_SIZE + 8], "little")
            size = self.path.stat().st_size
            if place >= 0 and stated_size > size * 1.02:
                self.remarks.append(
                    f"The file is damaged or cut off: it holds {size:,} of the {stated_size:,} bytes that it states."
                )


class Clock:
    """Takes jumps out of a file's clock: what stands behind one follows what stands before it.

    Asked for each packet in the order of the file; the same for pictures and sound, so that they stay in step.

    Attributes:
        now: seconds to add to the times of the packet that was asked for last.
    """

    def __init__(self, container_format: str):
        self._jumps = container_format in _JUMPING
        self._ends: dict[int, Fraction] = {}
        self.now = Fraction(0)

    def offset(self, packet: Any) -> Fraction:
        """Seconds to add to this packet's times."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if not self._jumps or stamp is None:
            return self.now
        time = stamp * packet.time_base + self.now
        end = self._ends.get(packet.stream.index)
        if end is not None and abs(time - end) > _JUMP:
            self.now += end - time
            time = end
        self._ends[packet.stream.index] = time + (packet.duration or 0) * packet.time_base
        return self.now


@contextmanager
def opened(path: Path, content: str = "video") -> Iterator[Any]:
    """The open container.

    Args:
        content: what the caller looks for in it, for the message.
    Raises:
        VideoError: the file is not there, or is no media file.
    """
    try:
        # Absolute: FFmpeg would read a relative "a:b/c" as a protocol.
        container = av.open(str(path.absolute()), metadata_errors="replace")
    except FileNotFoundError as error:
        raise VideoError(f"{path.name} is not there (any more). Choose another file.") from error
    except PermissionError as error:
        raise VideoError(f"{path.name} may not be read. Change its permissions, or choose another file.") from error
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(
            f"{path.name} is no {content} that can be read: it is damaged, cut off or something else. "
            "Choose another file."
        ) from error
    with container:
        yield container


def moving_pictures(path: Path, container: Any) -> Any:
    """The first video stream that can be decoded and is no cover picture.

    Raises:
        VideoError: there is none.
    """
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        raise VideoError(f"{path.name} holds no video, only sound or text. Choose another file.")
    for stream in streams:
        if stream.codec_context is not None:
            return stream
    raise VideoError(
        f"The video in {path.name} is in a format that cannot be decoded here. Convert it to H.264 with another "
        "program."
    )


def _is_cover(stream: Any) -> bool:
    flags = stream.disposition
    return bool(getattr(flags, "value", flags) & _ATTACHED_PICTURE)  # a plain number from PyAV 18 on


def packets(container: Any, *streams: Any) -> Iterator[Any]:
    """The packets of these streams that hold anything, to where the container cannot be read any further."""
    reading = container.demux(*streams)
    while True:
        try:
            packet = next(reading)
        except (StopIteration, EOFError, av.error.FFmpegError):
            return
        if packet.size:  # an empty packet would tell the decoder that the stream ends
            yield packet


def decoded(container: Any, stream: Any, lost: Callable[[Any], None]) -> Iterator[Any]:
    """The frames of a stream, from where the container stands. A packet that cannot be decoded goes to `lost`."""
    for packet in packets(container, stream):
        try:
            frames = packet.decode()
        except EOFError:
            return
        except av.error.FFmpegError:
            lost(packet)
            continue
        yield from frames
    with suppress(EOFError, av.error.FFmpegError):
        yield from stream.codec_context.decode(None)


def _timed_streams(container: Any, stream: Any) -> list[Any]:
    """The stream and the sound beside it: what the length of a file is told from."""
    return [stream, *(sound for sound in container.streams.audio if sound.codec_context is not None)]
