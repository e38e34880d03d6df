"""Frames from one size and pixel format to another, with their colour samples where the file says they are.

PyAV's own `reformat` cannot be told where chroma stands between the luma samples: it puts it in the middle, while
H.264, H.265 and MPEG-2 files, unless they say otherwise, have it at the left. FFmpeg's scale filter can.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from .pyav import av

# swscale's places, in 256ths of a luma sample: left in a row, the middle between two rows.
LEFT, MIDDLE = 0, 128
# full_chroma and accurate_rnd: without them half of all greys come out one level too dark, and colours drift. Lanczos
# over five samples for thinning chroma out and a spline for filling it in keep edges in their place best, generation
# after generation (tests/media/test_chroma.py, 2026-11-29).
_WRITE = "flags=lanczos+full_chroma_inp+accurate_rnd:param0=5:out_color_matrix=bt709:out_range=tv"
_READ = "flags=spline+full_chroma_int+accurate_rnd:out_range=pc"
# ITU-T H.273 matrix of a frame -> the scale filter's name and swscale's number.
_MATRICES = {
    1: ("bt709", 1),
    4: ("fcc", 4),
    5: ("bt601", 5),
    6: ("bt601", 5),
    7: ("smpte240m", 7),
    9: ("bt2020", 9),
    10: ("bt2020", 9),
}
_FULL_RANGE = 2
_BT709, _BT601 = 1, 5
# Decoders that say of every frame where its chroma stands, and the libswscale (FFmpeg 8) that obeys in `reformat`.
_STATING, _OBEYING = {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "mjpeg"}, (9,)
_CENTRED = {"mjpeg", "mpeg1video", "jpeg2000"}
# swscale's SWS_SPLINE | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND, the flags of `_READ`.
_EXACT_SPLINE = 0x400 | 0x2000 | 0x40000


class Scaler:
    """Converts frames one by one; one for a whole file, since FFmpeg takes as long to set up as to convert."""

    def __init__(self) -> None:
        self._graph: Any = None
        self._key: tuple[Any, ...] = ()
        self._count = 0

    def to_yuv(self, frame: Any, pixels: str) -> Any:
        """RGB -> BT.709 in limited range, chroma at the left."""
        return self._run(frame, f"{_WRITE}{_place('out', pixels, LEFT)}", pixels)

    def to_rgb(self, frame: Any, width: int, height: int, pixels: str, codec: str) -> Any:
        """A decoded frame -> RGB in full range.

        Args:
            codec: that the frame was decoded from; it tells where chroma stands in files that do not say.
        """
        options = f"{_READ}:w={width}:h={height}"
        if frame.format.is_rgb or frame.format.has_palette:
            return self._run(frame, options, pixels)
        # Unknown matrices go by size, as players do.
        name, number = _MATRICES.get(int(frame.colorspace), _MATRICES[_BT709 if frame.height >= 720 else _BT601])
        is_full = int(frame.color_range) == _FULL_RANGE or frame.format.name.startswith("yuvj")
        if codec in _STATING and av.library_versions["libswscale"] >= _OBEYING:
            span = av.video.reformatter.ColorRange
            return frame.reformat(
                width=width,
                height=height,
                format=pixels,
                interpolation=_EXACT_SPLINE,
                src_colorspace=number,
                dst_colorspace=_BT601 if number != _BT601 else _BT709,  # RGB has none; PyAV looks where they differ
                src_color_range=span.JPEG if is_full else span.MPEG,
                dst_color_range=span.JPEG,
            )
        options += f":in_color_matrix={name}:in_range={'pc' if is_full else 'tv'}"
        options += _place("in", frame.format.name, MIDDLE if codec in _CENTRED else LEFT)
        return self._run(frame, options, pixels)

    def _run(self, frame: Any, options: str, pixels: str) -> Any:
        key = frame.width, frame.height, frame.format.name, options, pixels
        if key != self._key:
            self._graph, self._key, self._count = _graph(frame, options, pixels), key, 0
        # A rising time of its own, since frames may carry none.
        pts, base = frame.pts, frame.time_base
        frame.pts, frame.time_base = self._count, Fraction(1, 1000)
        self._count += 1
        try:
            self._graph.push(frame)
            return self._graph.pull()
        finally:
            frame.pts = pts
            if base:
                frame.time_base = base


def _place(side: str, pixels: str, across: int) -> str:
    """The scale filter's options for where chroma stands; "" for formats with all of their chroma."""
    if not any(kind in pixels for kind in ("420", "422", "411", "410", "nv12", "p010")):
        return ""
    return f":{side}_h_chr_pos={across}" + ("" if "422" in pixels else f":{side}_v_chr_pos={MIDDLE}")


def _graph(frame: Any, options: str, pixels: str) -> Any:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))
    scale, target, sink = (
        graph.add("scale", options),
        graph.add("format", f"pix_fmts={pixels}"),
        graph.add("buffersink"),
    )
    source.link_to(scale)
    scale.link_to(target)
    target.link_to(sink)
    graph.configure()
    return graph
