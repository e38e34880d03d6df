"""A video and its sound into a container of FFmpeg's: MP4, MOV, WebM, Matroska."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import xmp
from .audio import AudioTrack
from .formats import Format
from .pyav import av
from .settings import SaveSettings
from .sink import FrameMaker, Job, is_yuv

# ITU-T H.273 code points: 1 is BT.709 in colour primaries, transfer characteristics and matrix alike; 0 is an RGB
# matrix, 13 the transfer of sRGB.
_BT709, _RGB, _SRGB = 1, 0, 13
# use_metadata_tags: own keys survive. faststart: players and ComfyUI's page need not read the file to its end.
_OPTIONS = {"movflags": "use_metadata_tags+faststart"}


class ContainerSink:
    """See `sink.Sink`."""

    def __init__(self, job: Job):
        self._job, self._frames = job, 0
        kind = job.settings.kind
        self._container: Any = opened_for_writing(job.path, job.settings, job.metadata)

        self._video = self._container.add_stream(kind.encoder().name, rate=job.fps, options=job.settings.options)
        self._video.width, self._video.height = job.width, job.height
        self._video.pix_fmt = job.pixels
        context = self._video.codec_context
        if kind.tag:
            context.codec_tag = kind.tag
        self._frame_maker, self._is_yuv = FrameMaker(job.pixels), is_yuv(job.pixels)
        context.colorspace = _BT709 if self._is_yuv else _RGB
        context.color_primaries = _BT709
        context.color_trc = _BT709 if self._is_yuv else _SRGB
        context.color_range = self._range()

        if job.track is not None:
            self._sound = add_sound(self._container, kind, job.track)

    def write(self, picture: np.ndarray) -> None:
        frame = self._frame_maker.frame(picture)
        frame.colorspace = _BT709 if self._is_yuv else _RGB
        frame.color_range = self._range()
        if hasattr(frame, "color_primaries"):  # PyAV 14 does not have them; ProRes writes them into each picture
            frame.color_primaries, frame.color_trc = _BT709, _BT709 if self._is_yuv else _SRGB
        frame.pts, frame.time_base = self._frames, 1 / self._job.fps
        self._container.mux(self._video.encode(frame))
        self._frames += 1
        # Bit by bit, so that picture and sound lie interleaved in the file.
        if self._job.track is not None:
            for sound in self._job.track.frames(self._frames / self._job.fps):
                self._container.mux(self._sound.encode(sound))

    def _range(self) -> Any:
        span = av.video.reformatter.ColorRange
        return span.MPEG if self._is_yuv else span.JPEG

    def finish(self) -> None:
        held_back = self._video.encode(None)
        if self._video.codec_context.name == "libx265" and self._frames <= 2:
            # x265 knows its delay from the third picture on; before that its dts values are uninitialised memory.
            for packet in held_back:
                packet.dts = packet.pts
        self._container.mux(held_back)
        if self._job.track is not None:
            self._container.mux(self._sound.encode(None))
        self._container.close()
        finish_container(self._job.path, self._job.settings)

    def close(self) -> None:
        self._container.close()


def opened_for_writing(path: Path, settings: SaveSettings, metadata: Mapping[str, str]) -> Any:
    """A container that is to be written, with its texts, and the mark where it stands among them.

    Args:
        path: absolute, because FFmpeg would read a relative "a:b/c" as a protocol.
    """
    is_mov = _is_mov(settings)
    container: Any = av.open(str(path), "w", format=settings.kind.container, options=_OPTIONS if is_mov else {})
    for key, value in metadata.items():
        container.metadata[key] = value if is_mov else _balanced(value)
    if settings.provenance and not is_mov:
        container.metadata["DIGITAL_SOURCE_TYPE"] = xmp.DIGITAL_SOURCE_TYPE
    return container


def add_sound(container: Any, kind: Format, track: AudioTrack) -> Any:
    """The stream of a sound in a container of a format that has any."""
    assert kind.sound is not None
    return container.add_stream(kind.sound.encoder, rate=track.encoded_rate, layout=track.layout)


def finish_container(path: Path, settings: SaveSettings) -> None:
    """Put the mark behind a closed file where it stands there."""
    if settings.provenance and _is_mov(settings):
        xmp.append_box(path)


def _is_mov(settings: SaveSettings) -> bool:
    return settings.kind.container in ("mp4", "mov")


def _balanced(text: str) -> str:
    """The same JSON with the braces inside its strings written as escapes; other texts as they are.

    ComfyUI's page finds the end of a WebM's JSON by counting braces, those in strings too (frontend 1.27 and 1.35).
    """
    if not text.startswith("{"):
        return text
    escaped = {"{": "\\u007b", "}": "\\u007d"}
    return re.sub(r'"(?:[^"\\]|\\.)*"', lambda string: re.sub("[{}]", lambda brace: escaped[brace[0]], string[0]), text)
