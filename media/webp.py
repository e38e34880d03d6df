"""An animated WebP, put together picture by picture: memory does not grow with the length.

Container: RFC 9649. libwebp's own animation encoder would hold the whole file in memory until the end.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from . import xmp
from .pyav import av
from .sink import FrameMaker, Job

_ANIMATION, _XMP, _EXIF, _ALPHA = 0x02, 0x04, 0x08, 0x10
_ASCII = 2  # EXIF's type of a text
# Where core's SaveAnimatedWEBP puts them and ComfyUI's page finds them: "prompt" in Model, the others in Make and
# downwards.
_MODEL, _MAKE = 0x0110, 0x010F


class WebpSink:
    """See `sink.Sink`."""

    def __init__(self, job: Job):
        self._job, self._count, self._frame_maker = job, 0, FrameMaker("bgra")
        self._codec: Any = av.CodecContext.create("libwebp", "w")
        self._codec.width, self._codec.height, self._codec.pix_fmt = job.width, job.height, "bgra"
        self._codec.time_base = Fraction(1, 1000)
        self._codec.options = {"quality": f"{job.settings.quality:g}", "compression_level": "4"}
        self._file: Any = job.path.open("r+b")
        flags = _ANIMATION | (_ALPHA if job.has_alpha else 0)
        flags |= (_EXIF if job.metadata else 0) | (_XMP if job.settings.provenance else 0)
        size = _uint24(job.width - 1) + _uint24(job.height - 1)
        # The size after RIFF is only known at the end.
        self._file.write(b"RIFF\0\0\0\0WEBP" + _chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size))
        self._file.write(_chunk(b"ANIM", bytes(4) + struct.pack("<H", 0)))  # no background, for ever

    def write(self, picture: np.ndarray) -> None:
        frame = self._frame_maker.frame(picture)
        frame.pts = self._count
        still = b"".join(bytes(packet) for packet in self._codec.encode(frame))
        pieces = b"".join(piece for name, piece in _chunks(still) if name in (b"ALPH", b"VP8 ", b"VP8L"))
        job = self._job
        place = bytes(6) + _uint24(job.width - 1) + _uint24(job.height - 1) + _uint24(self._duration())
        do_not_blend = b"\x02"  # each picture replaces the one before it
        self._file.write(_chunk(b"ANMF", place + do_not_blend + pieces))
        self._count += 1

    def finish(self) -> None:
        if self._job.metadata:
            self._file.write(_chunk(b"EXIF", exif(self._job.metadata)))
        if self._job.settings.provenance:
            self._file.write(_chunk(b"XMP ", xmp.PACKET))
        size = self._file.tell() - 8
        if size >= 2**32 - 1:
            raise OSError(errno.EFBIG, "a WebP holds 4 GiB at most")
        self._file.seek(4)
        self._file.write(struct.pack("<I", size))

    def close(self) -> None:
        self._file.close()

    def _duration(self) -> int:
        """Milliseconds of the picture being written; whole ones whose sum never leaves the frame rate."""
        fps, n = self._job.fps, self._count
        return round(1000 * (n + 1) / fps) - round(1000 * n / fps)


def exif(texts: Mapping[str, str]) -> bytes:
    """A TIFF directory of "key:text" entries, as ComfyUI's page reads them."""
    others = [key for key in texts if key != "prompt"]
    tags = {_MAKE - n: key for n, key in enumerate(others)} | ({_MODEL: "prompt"} if "prompt" in texts else {})
    entries, data, start = b"", b"", 8 + 2 + 12 * len(tags) + 4
    for tag, key in sorted(tags.items()):
        text = f"{key}:{texts[key]}".encode() + b"\0"
        # up to four bytes would be stored in the entry itself, which the page does not read
        text = text.ljust(5, b"\0")
        entries += struct.pack("<HHII", tag, _ASCII, len(text), start + len(data))
        data += text + b"\0" * (len(text) % 2)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def _chunks(riff: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, the whole padded chunk) of a WebP file."""
    position = 12
    while position + 8 <= len(riff):
        end = position + 8 + struct.unpack_from("<I", riff, position + 4)[0]
        end += end % 2
        yield riff[position : position + 4], riff[position:end]
        position = end


def _chunk(name: bytes, content: bytes) -> bytes:
    # Padded inside, not behind: ComfyUI's page forgets the padding byte when it looks for the next chunk.
    content += b"\0" * (len(content) % 2)
    return name + struct.pack("<I", len(content)) + content


def _uint24(number: int) -> bytes:
    return struct.pack("<I", number)[:3]
