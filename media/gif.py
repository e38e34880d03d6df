"""A GIF whose palette is made for the whole clip, with constant memory.

Pictures wait in a file beside the GIF while FFmpeg's palettegen counts their colours; at the end they are read again,
one by one, and drawn with that palette.
"""

from __future__ import annotations

import math
import os
import shutil
from fractions import Fraction
from typing import Any

import numpy as np

from . import xmp
from .pyav import av
from .sink import Job

# GIF durations are hundredths of a second, and browsers slow down pictures of less than two of them.
_TICK = Fraction(1, 100)
# Pixels whose colours are counted: of each picture, and in all before colours are rounded.
_COUNTED_PER_FRAME, _COUNTED_EXACTLY = 2**15, 2**21
# Length of the extension that repeats a GIF for ever; FFmpeg's muxer puts it right behind the colours.
_LOOP_BYTES = 19


class GifSink:
    """See `sink.Sink`."""

    def __init__(self, job: Job):
        self._job, self._count = job, 0
        self._spool_path = job.path.with_suffix(".frames")
        self._spool: Any = self._spool_path.open("x+b")
        # 16 colours at quality 0, 256 at 100.
        colours = round(2 ** (4 + job.settings.quality / 25))
        graph = av.filter.Graph()
        self._stride = math.ceil(math.sqrt(job.width * job.height / _COUNTED_PER_FRAME))
        width, height = math.ceil(job.width / self._stride), math.ceil(job.height / self._stride)
        self._exact_left = _COUNTED_EXACTLY
        self._counter = self._buffer(graph, width, height, self._source)
        palette = graph.add("palettegen", f"max_colors={colours}:stats_mode=full")
        self._palette = graph.add("buffersink")
        self._counter.link_to(palette)
        palette.link_to(self._palette)
        graph.configure()
        self._graphs = [graph]  # a graph must outlive its filters

    @property
    def _source(self) -> str:
        return "rgba" if self._job.has_alpha else "rgb24"

    def write(self, picture: np.ndarray) -> None:
        self._spool.write(picture.tobytes())
        counted = picture[:: self._stride, :: self._stride].copy()
        # palettegen stores every colour. After this many pixels, rounding to six bits per channel bounds their number.
        self._exact_left -= counted.shape[0] * counted.shape[1]
        if self._exact_left < 0:
            counted[..., :3] = (counted[..., :3] & 0xFC) | (counted[..., :3] >> 6)
        self._counter.push(self._frame(counted))
        self._count += 1

    def finish(self) -> None:
        pictures, drawn = self._drawing()
        job, shape = self._job, (self._job.height, self._job.width, len(self._source.rstrip("24")))
        container: Any = av.open(str(job.path), "w", format="gif")
        try:
            stream = container.add_stream("gif", rate=job.fps)
            stream.width, stream.height, stream.pix_fmt = job.width, job.height, "pal8"
            stream.codec_context.time_base = _TICK
            self._spool.seek(0)
            for n in range(self._count):
                data = self._spool.read(shape[0] * shape[1] * shape[2])
                pictures.push(self._frame(np.frombuffer(data, np.uint8).reshape(shape), n))
                container.mux(stream.encode(drawn.pull()))
            container.mux(stream.encode(None))
        finally:
            container.close()
        self._add_texts()

    def close(self) -> None:
        self._spool.close()
        self._spool_path.unlink(missing_ok=True)

    def _drawing(self) -> tuple[Any, Any]:
        """A graph that draws with the palette: where pictures go in, where they come out."""
        self._counter.push(None)
        palette: Any = self._palette.pull()
        palette.pts, palette.time_base = 0, _TICK
        graph = av.filter.Graph()
        pictures = self._buffer(graph, self._job.width, self._job.height, self._source)
        colours = self._buffer(graph, palette.width, palette.height, palette.format.name)
        draw, drawn = graph.add("paletteuse", "diff_mode=rectangle"), graph.add("buffersink")
        pictures.link_to(draw, 0, 0)
        colours.link_to(draw, 0, 1)
        draw.link_to(drawn)
        graph.configure()
        self._graphs.append(graph)
        colours.push(palette)
        colours.push(None)
        return pictures, drawn

    @staticmethod
    def _buffer(graph: Any, width: int, height: int, pixels: str) -> Any:
        return graph.add_buffer(width=width, height=height, format=pixels, time_base=_TICK)

    def _frame(self, picture: np.ndarray, number: int | None = None) -> Any:
        frame = av.VideoFrame.from_ndarray(picture, format=self._source)
        number = self._count if number is None else number
        frame.pts, frame.time_base = round(number / self._job.fps / _TICK), _TICK
        return frame

    def _add_texts(self) -> None:
        """Comments and the mark, in front of the first picture: behind the last one, players take them for another."""
        job, plain_path = self._job, self._spool_path
        texts = b"".join(_comment(f"{key}:{value}") for key, value in job.metadata.items())
        texts += xmp.gif_extension() if job.settings.provenance else b""
        # The pictures are no longer needed; their file takes the finished GIF, which then moves to its place.
        self._spool.close()
        with job.path.open("rb") as plain, plain_path.open("wb") as whole:
            header = plain.read(13)
            colours = 3 * 2 ** ((header[10] & 7) + 1) if header[10] & 0x80 else 0
            whole.write(header + plain.read(colours))
            loop = plain.read(_LOOP_BYTES)
            repeats = loop.startswith(b"\x21\xff\x0bNETSCAPE")
            whole.write(loop + texts if repeats else texts + loop)
            shutil.copyfileobj(plain, whole)
        os.replace(plain_path, job.path)


def _comment(text: str) -> bytes:
    data = text.encode()
    pieces = (data[start : start + 255] for start in range(0, len(data), 255))
    return b"\x21\xfe" + b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\x00"
