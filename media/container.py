"""A video and its sound into a container of FFmpeg's: MP4, MOV, WebM, Matroska."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from . import xmp
from .pyav import av
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
        self._is_mov = kind.container in ("mp4", "mov")
        options = _OPTIONS if self._is_mov else {}
        # FFmpeg would read a relative "a:b/c" as a protocol; the job's path is absolute.
        self._container: Any = av.open(str(job.path), "w", format=kind.container, options=options)
        for key, value in job.metadata.items():
            self._container.metadata[key] = value if self._is_mov else _balanced(value)
        if job.settings.provenance and not self._is_mov:
            self._container.metadata["DIGITAL_SOURCE_TYPE"] = xmp.DIGITAL_SOURCE_TYPE

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
            assert kind.sound is not None
            rate, layout = job.track.encoded_rate, job.track.layout
            self._sound = self._container.add_stream(kind.sound.encoder, rate=rate, layout=layout)

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
        if self._job.settings.provenance and self._is_mov:
            xmp.append_box(self._job.path)

    def close(self) -> None:
        self._container.close()


def _balanced(text: str) -> str:
    """The same JSON with the braces inside its strings written as escapes; other texts as they are.

    ComfyUI's page finds the end of a WebM's JSON by counting braces, those in strings too (frontend 1.27 and 1.35).
    """
    if not text.startswith("{"):
        return text
    escaped = {"{": "\\u007b", "}": "\\u007d"}
    return re.sub(r'"(?:[^"\\]|\\.)*"', lambda string: re.sub("[{}]", lambda brace: escaped[brace[0]], string[0]), text)
