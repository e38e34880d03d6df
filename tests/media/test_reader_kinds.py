"""A hundred and more kinds of files, container by codec by size, rate and picture order: every frame by its number.

Each is compared with what a plain PyAV loop decodes in the order of the file's own times. Tests: media/film.py
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from opent2v.media import read_video

_FINE = {"b": "4000000", "qmin": "2", "qmax": "3"}
# Codec -> (pixel format, options without reordered pictures, options with them or None).
CODECS = {
    "libx264": ("yuv420p", {"bf": "0", "g": "8"}, {"bf": "2", "g": "12"}),
    "libx265": ("yuv420p", {"x265-params": "bframes=0:log-level=none"}, {"x265-params": "bframes=3:log-level=none"}),
    "mpeg4": ("yuv420p", {"g": "8", **_FINE}, {"g": "12", "bf": "2", **_FINE}),
    "mpeg2video": ("yuv420p", {"g": "8", **_FINE}, {"g": "12", "bf": "2", **_FINE}),
    "libvpx": ("yuv420p", {"deadline": "realtime", "cpu-used": "8"}, None),
    "libvpx-vp9": ("yuv420p", {"deadline": "realtime", "cpu-used": "8"}, None),
    "ffv1": ("yuv444p", {}, None),
    "mjpeg": ("yuvj420p", {}, None),
    "prores_ks": ("yuv422p10le", {}, None),
    "flv": ("yuv420p", {"g": "8", **_FINE}, None),
}
HOLDERS = {
    "mp4": ("libx264", "libx265", "mpeg4", "mpeg2video", "libvpx-vp9"),
    "mov": ("libx264", "libx265", "mpeg4", "mjpeg", "prores_ks"),
    "mkv": ("libx264", "libx265", "mpeg4", "mpeg2video", "libvpx", "libvpx-vp9", "ffv1", "mjpeg"),
    "avi": ("libx264", "mpeg4", "ffv1", "mjpeg"),
    "ts": ("libx264", "libx265", "mpeg2video"),
    "flv": ("flv", "libx264"),
    "webm": ("libvpx", "libvpx-vp9"),
}
# (width, height), frames per second. x265 breaks at pictures up to 48 pixels wide.
SHAPES = (((64, 48), Fraction(25)), ((70, 46), Fraction(30000, 1001)), ((66, 98), Fraction(12)))
KINDS = [
    (holder, codec, shape, is_reordered)
    for holder, codecs in HOLDERS.items()
    for codec in codecs
    for shape in range(len(SHAPES))
    for is_reordered in ((False, True) if CODECS[codec][2] else (False,))
]
COUNT = 20


def test_they_are_more_than_a_hundred():
    assert len(KINDS) >= 120


@pytest.mark.parametrize(("holder", "codec", "shape", "is_reordered"), KINDS)
def test_every_frame_stands_at_its_time(tmp_path, holder, codec, shape, is_reordered):
    (width, height), rate = SHAPES[shape]
    pixels, plain, reordered = CODECS[codec]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    if codec == "mpeg2video" and rate == 12:
        rate = Fraction(24)  # MPEG-2 knows eight rates
    path = tmp_path / f"clip.{holder}"
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options=reordered if is_reordered else plain)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        for n in range(COUNT):
            picture = np.full((height, width, 3), 12 * n, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = n, 1 / rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    video = read_video(path)
    assert video.frames.shape == (COUNT, height, width, 3) and video.remarks == []
    assert abs(video.fps - rate) < 0.02
    levels = [float(frame.mean()) * 255 for frame in video.frames]
    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    assert len(decoded) == COUNT
    for n, (level, other) in enumerate(zip(levels, decoded, strict=True)):
        assert abs(level - 12 * n) < 6 and abs(level - other) < 6, (n, level, other)
    middle = read_video(path, start=7, count=3)
    assert [round(float(frame.mean()) * 255 / 12) for frame in middle.frames] == [7, 8, 9]
