"""Files of one kind joined without encoding their pictures again: packets are copied, their times moved.

Sound is encoded again all the same: codecs begin and end between samples, so that copied sound would drift and click.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from .container import add_sound, finish_container, opened_for_writing
from .film import decoded, moving_pictures, opened, packets
from .formats import Format
from .growing_sound import GrowingSound
from .joining import Clips
from .naming import create_temporary, disk_errors, give_final_name
from .pixels import turned
from .pyav import av
from .settings import SaveSettings

# Containers round times; by this share of a frame at most.
_TOLERANCE = Fraction(1, 20)


@dataclass(frozen=True)
class _Coding:
    """How a file's pictures are coded. Files of which all is equal can follow each other in one stream.

    Attributes:
        codec: FFmpeg's number of it.
        setup: what a decoder is told at the start.
        delay: frames by which decoding is ahead of showing.
        is_turned: the pictures are to be shown turned or mirrored.
        is_steady: one picture after the other at one rate, the first of which needs no other.
    """

    suffix: str
    codec: int
    pixels: str
    setup: bytes
    aspect: Fraction
    delay: int
    is_turned: bool
    is_steady: bool


def why_encoded(clips: Clips, settings: SaveSettings) -> str:
    """Why the pictures of the clips have to be encoded again for this format; "" where they need not.

    Raises:
        VideoError: a file that cannot be read.
    """
    if any(clips.overlaps):
        return "clips fade into each other"
    kind, first = settings.kind, None
    for number, path in enumerate(clips.paths, 1):
        coding = _coding(path, clips.fps)
        first = first or coding
        target = (kind.suffix, av.codec.Codec(kind.encoder().name, "w").id, kind.pixels[settings.bits])
        if (coding.suffix, coding.codec, coding.pixels) != target:
            return f"clip {number} is not {kind.key} with {settings.bits} bits"
        if coding.is_turned or not coding.is_steady:
            return f"clip {number} is turned, or its frames do not follow each other at one rate"
        if coding != first:
            return f"clip {number} was encoded with other settings than clip 1"
    return ""


def copy_joined(
    clips: Clips,
    settings: SaveSettings,
    location: tuple[Path, str],
    metadata: Mapping[str, str],
    report: Callable[[int], None],
) -> tuple[Path, list[str]]:
    """Join clips, for which `why_encoded` has no reason, into one file; (the file, remarks).

    Args:
        location: folder and stem, as `VideoWriter` takes them.
        report: called with the frames written so far; may raise, and no file stays.
    Raises:
        OutputError: the folder is missing, not writable or full.
    """
    (folder, stem), kind, remarks = location, settings.kind, list[str]()
    sound = track = None
    if clips.sound is not None and kind.sound is not None:
        sound = GrowingSound(*clips.sound)
        track = sound.track(kind.sound.rates, settings.audio_length == "pad")
    with disk_errors(folder):
        temporary = create_temporary(folder, stem, kind.suffix)
        try:
            with opened_for_writing(temporary, settings, metadata) as output:
                video = heard = None
                for number, start in enumerate((0, *clips.joints), 1):
                    if sound is not None:
                        clips.add_sound(sound, number, remarks)
                    with opened(clips.paths[number - 1]) as source:
                        stream = moving_pictures(clips.paths[number - 1], source)
                        if video is None:
                            video = _copied_stream(output, stream, kind)
                            heard = None if track is None else add_sound(output, kind, track)
                        moments = _Moments(source, stream, clips.fps)
                        for place, packet in enumerate(packets(source, stream), start + 1):
                            moments.move(packet, start)
                            packet.stream = video
                            output.mux(packet)
                            if track is not None and heard is not None:
                                for frame in track.frames(place / clips.fps):
                                    output.mux(heard.encode(frame))
                            report(place)
                if heard is not None:
                    output.mux(heard.encode(None))
            finish_container(temporary, settings)
            return give_final_name(temporary, stem, kind.suffix), remarks
        finally:
            temporary.unlink(missing_ok=True)


def _copied_stream(output: Any, stream: Any, kind: Format) -> Any:
    # opaque: by the decoder. Else PyAV looks for an encoder of its name, which AV1's libdav1d has not, and PyAV 14
    # opens that encoder, whose setup then stands in the file in place of the clips'.
    video = output.add_stream_from_template(stream, opaque=True)
    if kind.tag:
        video.codec_context.codec_tag = kind.tag
    return video


class _Moments:
    """The times of a file's packets in frames from its start."""

    def __init__(self, container: Any, stream: Any, fps: Fraction):
        self._first = Fraction(stream.start_time or 0) * stream.time_base
        self._fps = fps

    def frames(self, ticks: int, base: Fraction) -> Fraction:
        return (ticks * base - self._first) * self._fps

    def move(self, packet: Any, start: int) -> None:
        """Give a packet its times in the whole, in which the file begins at this frame."""
        pts, dts = (round(self.frames(ticks, packet.time_base)) + start for ticks in (packet.pts, packet.dts))
        packet.time_base = 1 / self._fps
        packet.pts, packet.dts, packet.duration = pts, dts, 1


def _coding(path: Path, fps: Fraction) -> _Coding:
    with opened(path) as container:
        stream = moving_pictures(path, container)
        context = stream.codec_context
        moments, times, keys = _Moments(container, stream, fps), list[tuple[Fraction, Fraction]](), list[bool]()
        for packet in packets(container, stream):
            if packet.pts is None or packet.dts is None:
                times.append((Fraction(-1), Fraction(-1)))
                continue
            times.append((moments.frames(packet.pts, packet.time_base), moments.frames(packet.dts, packet.time_base)))
            keys.append(bool(packet.is_keyframe))
        setup, aspect = bytes(context.extradata or b""), stream.sample_aspect_ratio or Fraction(1)
        codec, pixels = context.codec.id, context.pix_fmt or ""
    with opened(path) as container:
        frame = next(decoded(container, moving_pictures(path, container), lambda packet: None), None)
    delay = -round(times[0][1]) if times else 0
    is_steady = (
        bool(keys) and keys[0] and round(times[0][0]) == 0
        and _follow([shown for shown, _ in times], 0)
        and _follow([read for _, read in times], -delay, in_order=True)
    )  # fmt: skip
    is_turned = frame is None or turned(frame) != (0, False)
    return _Coding(path.suffix.lower(), codec, pixels, setup, aspect, delay, is_turned, is_steady)


def _follow(times: list[Fraction], first: int, in_order: bool = False) -> bool:
    """Whether times are first, first + 1 ..., in frames."""
    ordered = times if in_order else sorted(times)
    return all(abs(time - place) <= _TOLERANCE for place, time in enumerate(ordered, first))
