"""A folder of numbered PNG files, nothing lost; the first one carries the texts."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

from . import xmp
from .pyav import av
from .sink import FrameMaker, Job

_HEADER_END = 8 + 25  # signature and IHDR, behind which texts may lie


class PngSink:
    """See `sink.Sink`; the job's path is a folder."""

    def __init__(self, job: Job):
        self._job, self._count, self._frame_maker = job, 0, FrameMaker(job.pixels)
        self._codec: Any = av.CodecContext.create("png", "w")
        self._codec.width, self._codec.height, self._codec.pix_fmt = job.width, job.height, job.pixels
        self._codec.time_base = 1 / job.fps
        self._codec.options = {"pred": "mixed"}

    def write(self, picture: np.ndarray) -> None:
        frame = self._frame_maker.frame(picture)
        frame.pts = self._count
        data = b"".join(bytes(packet) for packet in self._codec.encode(frame))
        texts = b"" if self._count else b"".join(_text(key, value) for key, value in self._job.metadata.items())
        if self._job.settings.provenance:
            texts += _international("XML:com.adobe.xmp", xmp.PACKET)
        self._count += 1
        path = self._job.path / f"{self._job.stem}_{self._count:06d}.png"
        path.write_bytes(data[:_HEADER_END] + texts + data[_HEADER_END:])

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


def _text(key: str, value: str) -> bytes:
    """tEXt, which every reader knows, or iTXt where the text is not plain ASCII. Keys are cut to PNG's 79 bytes."""
    if (key + value).isascii():
        return _chunk(b"tEXt", key[:79].encode() + b"\0" + value.encode())
    return _international(key.encode("latin-1", "replace").decode("latin-1")[:79], value.encode())


def _international(key: str, text: bytes) -> bytes:
    # Not compressed, no language, no translated key.
    return _chunk(b"iTXt", key.encode("latin-1") + b"\0" + b"\0\0" + b"\0" + b"\0" + text)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
