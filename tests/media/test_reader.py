"""Videos are made with PyAV, read, and every frame is known by its brightness."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace

from opent2v.media import VideoError, list_inputs, read_video
from opent2v.media.reader import SUFFIXES
from opent2v.tests.media.clips import GREEN, RED, boxes, numbers, save, solid, sound


def write(path, ticks, codec="libx264rgb", tick=Fraction(1, 1000), pixels="rgb24", options=None, rate=24):
    """A file whose frame n is of brightness 2n and begins at ticks[n]."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options=options or {"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        stream.codec_context.time_base = stream.time_base = tick
        for n, when in enumerate(ticks):
            picture = np.full((48, 64, 3), 2 * n, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = when, tick
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """120 frames with B-frames and keyframes far apart, losslessly told apart."""
    folder = tmp_path_factory.mktemp("film")
    ticks = [n * 1001 for n in range(120)]
    options = {"crf": "0", "g": "50", "bf": "3", "sc_threshold": "0"}
    return write(folder / "film.mkv", ticks, tick=Fraction(1, 24000), options=options, rate=Fraction(24000, 1001))


# --- which frames ---


@pytest.mark.parametrize("start", [0, 1, 49, 50, 51, 73, 119])
def test_every_frame_can_be_reached(film, start):
    video = read_video(film, start=start, count=4)
    assert numbers(video.frames) == list(range(start, min(start + 4, 120)))
    assert video.fps == Fraction(24000, 1001) and video.remarks == []
    assert video.frames.dtype == torch.float32 and video.frames.shape[1:] == (48, 64, 3)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, range(120)),
        ({"every": 7}, range(0, 120, 7)),
        ({"start": 10, "count": 3, "every": 20}, (10, 30, 50)),
        ({"start": 118, "count": 50}, (118, 119)),
        ({"count": 1}, (0,)),
    ],
)
def test_ranges(film, settings, expected):
    video = read_video(film, **settings)
    assert numbers(video.frames) == list(expected)
    assert video.fps == Fraction(24000, 1001) / settings.get("every", 1)


def test_another_frame_rate(film):
    half = read_video(film, fps=Fraction(12000, 1001))
    assert numbers(half.frames) == list(range(0, 120, 2))
    double = read_video(film, fps=Fraction(48000, 1001), count=6)
    assert numbers(double.frames) == [0, 0, 1, 1, 2, 2]
    film_to_tv = read_video(film, fps=Fraction(30000, 1001))
    assert len(film_to_tv.frames) == 150 and film_to_tv.fps == Fraction(30000, 1001)
    for n, shown in enumerate(numbers(film_to_tv.frames)):
        assert abs(shown / 24 - n / 30) <= 1 / 40 + 1e-3  # the nearest one; either at a tie
    # `start` counts at the rate that is asked for.
    assert numbers(read_video(film, fps=Fraction(12000, 1001), start=30, count=2).frames) == [60, 62]


def test_a_variable_rate_shows_each_moments_frame(tmp_path):
    """Frames 0 to 9 at 10 fps, a pause of a second, then 10 to 19 at 20 fps."""
    ticks = [100 * n for n in range(10)] + [1900 + 50 * n for n in range(10)]
    path = write(tmp_path / "variable.mp4", ticks)
    video = read_video(path, fps=20)
    expected = [n // 2 for n in range(18)] + [9] * 20 + list(range(10, 20))
    assert numbers(video.frames)[: len(expected)] == expected
    own = read_video(path)
    seconds = len(own.frames) / own.fps
    assert abs(seconds - Fraction(24, 10)) <= 1 / own.fps
    moments = [float(n / own.fps) for n in range(len(own.frames))]
    shown = numbers(own.frames)
    for moment, number in zip(moments, shown, strict=True):
        begins = ticks[number] / 1000
        ends = ticks[number + 1] / 1000 if number < 19 else 99
        assert begins - float(1 / own.fps) <= moment <= ends + float(1 / own.fps)


def test_times_rounded_to_milliseconds_are_no_variable_rate(tmp_path):
    ticks = [round(n * 1001 / 24) for n in range(100)]
    video = read_video(write(tmp_path / "rounded.mkv", ticks, "ffv1", pixels="bgr0", options={}))
    assert numbers(video.frames) == list(range(100))


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("clip.avi", "mpeg4", "yuv420p"),
        ("clip.ts", "libx264rgb", "rgb24"),
        ("clip.mpg", "mpeg2video", "yuv420p"),
        ("clip.flv", "flv", "yuv420p"),
        ("clip.webm", "libvpx-vp9", "yuv420p"),
        ("clip.mov", "prores_ks", "yuv422p10le"),
    ],
)
def test_other_containers(tmp_path, name, codec, pixels):
    options = {"qscale": "1", "flags": "+qscale", "global_quality": "118", "g": "12"} if codec != "libx264rgb" else None
    path = write(tmp_path / name, range(60), codec, Fraction(1, 25), pixels, options, 25)
    whole = read_video(path)
    assert np.abs(np.array(numbers(whole.frames)) - np.arange(60)).max() <= 2
    for start in (17, 40):
        assert torch.equal(read_video(path, start=start, count=2).frames, whole.frames[start : start + 2])


def test_a_file_that_begins_late(tmp_path):
    path = write(tmp_path / "late.mkv", [5000 + 40 * n for n in range(50)], rate=25)
    assert numbers(read_video(path, start=30, count=3).frames) == [30, 31, 32]


# --- how they look ---


@pytest.mark.parametrize("colour", [RED, GREEN, (0.1, 0.4, 0.9)])
def test_colours_come_back(tmp_path, colour):
    for key, tolerance in (("mp4 h264", 3), ("mkv ffv1", 1), ("mov prores 4444", 2)):
        frames = read_video(save(tmp_path, solid(colour), format=key, quality=100)).frames
        assert (frames - torch.tensor(colour)).abs().max() * 255 < tolerance


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize(("matrix", "tag"), [(Colorspace.ITU709, 1), (Colorspace.ITU601, 6), (Colorspace.ITU601, 2)])
def test_the_files_own_matrix_and_range_are_used(tmp_path, matrix, tag, is_full):
    """Without a tag a small video is BT.601."""
    scale = ColorRange.JPEG if is_full else ColorRange.MPEG
    colour = np.array([200, 60, 30], np.uint8)
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = tag, scale
        frame = av.VideoFrame.from_ndarray(np.broadcast_to(colour, (48, 64, 3)).copy(), format="rgb24")
        other = Colorspace.ITU709 if matrix != Colorspace.ITU709 else Colorspace.ITU601
        frame = frame.reformat(
            format="yuv420p",
            src_colorspace=other,
            dst_colorspace=matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=scale,
        )
        frame.colorspace, frame.color_range, frame.pts, frame.time_base = tag, scale, 0, Fraction(1, 10)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    found = read_video(path).frames[0, 20, 20] * 255
    assert (found - torch.from_numpy(colour).float()).abs().max() <= 3


def test_ten_bits_stay_ten_bits(tmp_path):
    ramp = (0.5 + torch.linspace(0, 0.05, 192)).view(1, 1, 192, 1).expand(2, 64, 192, 3)
    frames = read_video(save(tmp_path, ramp, format="mkv ffv1", bit_depth=16)).frames
    assert (frames - ramp).abs().max() < 1 / 60000


def turned(path, quarter):
    """Write a rotation into an MP4's track header, as phones do; 1 is 90 degrees clockwise on the screen."""
    data = bytearray(path.read_bytes())

    def content(kind, start, end):
        return next((box[1], box[2]) for box in boxes(data, start, end) if box[0] == kind)

    start, _ = content("tkhd", *content("trak", *content("moov", 0, len(data))))
    one = 1 << 16
    matrix = {1: (0, one, 0, -one, 0, 0), 2: (-one, 0, 0, 0, -one, 0), 3: (0, -one, 0, one, 0, 0)}[quarter]
    packed = b"".join(value.to_bytes(4, "big", signed=True) for value in (*matrix, 0, 0, 1 << 30))
    data[start + 40 : start + 76] = packed
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_turned_videos_come_upright(tmp_path, quarter):
    clip = torch.zeros(3, 48, 64, 3)
    clip[:, :16, :16] = 1  # a white corner, top left
    path = turned(save(tmp_path, clip, quality=100), quarter)
    frames = read_video(path).frames
    expected = torch.rot90(clip, -quarter, (1, 2))
    assert frames.shape == expected.shape
    assert (frames - expected).abs().mean() < 0.02
    sized = read_video(path, width=24, height=24).frames
    assert sized.shape == (3, 24, 24, 3)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (64, 48)),
        ({"width": 32}, (32, 24)),
        ({"height": 96}, (128, 96)),
        ({"width": 30, "height": 30}, (30, 30)),
        ({"width": 30, "height": 30, "fit": "fit"}, (30, 22)),
        ({"width": 200, "height": 24, "fit": "fit"}, (32, 24)),
        ({"width": 33, "height": 7}, (33, 7)),
    ],
)
def test_sizes(tmp_path, settings, expected):
    path = save(tmp_path, solid(RED))
    frames = read_video(path, **settings).frames
    assert (frames.shape[2], frames.shape[1]) == expected
    assert (frames - torch.tensor(RED)).abs().max() * 255 < 4


def test_crop_keeps_the_middle(tmp_path):
    clip = torch.zeros(2, 48, 96, 3)
    clip[:, :, 24:72] = 1
    cut = read_video(save(tmp_path, clip, quality=100), width=48, height=48).frames
    assert cut[:, :, 2:-2].min() > 0.95
    whole = read_video(save(tmp_path, clip, quality=100), width=48, height=48, fit="fit").frames
    assert whole.shape[1:3] == (24, 48) and whole[:, :, :10].max() < 0.05 and whole[:, :, 14:34].min() > 0.95


def test_pixels_that_are_not_square(tmp_path):
    path = tmp_path / "wide.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 10)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert read_video(path).frames.shape == (1, 48, 85, 3)


# --- sound ---


def test_sound_is_that_of_the_frames(tmp_path):
    path = save(tmp_path, solid(RED, 48), format="mov prores 4444", audio=sound(3, 48000))
    whole = read_video(path).audio
    part = read_video(path, start=12, count=8).audio
    assert whole is not None and part is not None
    assert whole["waveform"].shape == (1, 2, 3 * 48000) and part["waveform"].shape == (1, 2, 24000)
    assert torch.equal(part["waveform"], whole["waveform"][..., 36000:60000])
    sparse = read_video(path, every=4).audio
    assert sparse is not None and sparse["waveform"].shape == whole["waveform"].shape


def test_silent_files_give_no_sound(tmp_path):
    assert read_video(save(tmp_path, solid(RED))).audio is None
    short = save(tmp_path, solid(RED, 48), audio=sound(0.5))
    assert read_video(short, start=40).audio is None


# --- what cannot be read ---


def test_files_that_are_no_videos(tmp_path):
    for name, data in (("text.mp4", b"just text"), ("empty.mp4", b""), ("empty.webm", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(VideoError) as error:
            read_video(tmp_path / name)
        assert str(error.value) == (
            f"{name} is no video that can be read: it is damaged, cut off or something else. Choose another file."
        )
    with pytest.raises(VideoError, match=r"gone.mp4 is not there \(any more\)"):
        read_video(tmp_path / "gone.mp4")
    with av.open(str(tmp_path / "tone.mp4"), "w") as output:
        stream = output.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with pytest.raises(VideoError, match=r"tone.mp4 holds no video, only sound or text"):
        read_video(tmp_path / "tone.mp4")


def test_a_file_that_may_not_be_read(film, monkeypatch):
    def refuse(*arguments, **options):
        raise av.error.PermissionError(13, "Permission denied")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(VideoError) as error:
        read_video(film)
    assert str(error.value) == "film.mkv may not be read. Change its permissions, or choose another file."


def test_ranges_behind_the_end(film):
    with pytest.raises(
        VideoError, match=r"film.mkv has 120 frames at 23.976 fps; leaving out 120 in front leaves none"
    ):
        read_video(film, start=120)
    with pytest.raises(VideoError, match=r"film.mkv has 60 frames at 11.988 fps; leaving out 60 in front"):
        read_video(film, start=60, fps=Fraction(12000, 1001))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": -1}, "start is -1; expected a whole number from 0"),
        ({"count": 1.5}, "count is 1.5; expected a whole number from 0"),
        ({"every": 0}, "every is 0; expected a whole number from 1"),
        ({"fps": -2}, r"fps is -2; expected 0 \(as it is\) to 1000"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"width": 20000}, r"width is 20000; expected 0 \(as it is\) to 16384 pixels"),
        ({"fit": "stretch"}, "fit is 'stretch'; expected crop or fit"),
    ],
)
def test_bad_settings(film, settings, message):
    with pytest.raises(ValueError, match=message):
        read_video(film, **settings)


def test_a_cut_off_file_gives_what_is_there_and_says_so(tmp_path):
    path = write(tmp_path / "cut.mkv", range(100), "mpeg2video", Fraction(1, 25), "yuv420p", {"g": "10"}, rate=25)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = read_video(path)
    assert 20 < len(video.frames) < 80
    shown = numbers(video.frames)
    assert shown == sorted(shown)
    # An MP4 without its index is no file at all.
    broken = save(tmp_path, solid(RED, 60))
    broken.write_bytes(broken.read_bytes()[:600])
    with pytest.raises(VideoError, match="is no video that can be read"):
        read_video(broken)


def test_damaged_frames_at_the_end_are_told(tmp_path):
    path = save(tmp_path, torch.rand(60, 48, 64, 3), quality=90)
    data = bytearray(path.read_bytes())
    _, start, end = next(box for box in boxes(data) if box[0] == "mdat")
    middle = (start + end) // 2
    data[middle:end] = bytes(end - middle)
    path.write_bytes(data)
    video = read_video(path)
    assert len(video.frames) < 60
    assert video.remarks == [
        f"The file is damaged or cut off: {len(video.frames)} of 60 frames could be read; the others are left out."
    ]


# --- on the way ---


def test_progress_may_stop_it(film):
    seen = []

    def report(done, total):
        seen.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_video(film, start=10, count=20, report=report)
    assert seen == [(1, 20), (2, 20), (3, 20)]


_MEASURE = """
import resource, sys, types
package = types.ModuleType("opent2v"); package.__path__ = [sys.argv[1]]; sys.modules["opent2v"] = package
from pathlib import Path
from opent2v.media import read_video
read_video(Path(sys.argv[2]), count=2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
video = read_video(Path(sys.argv[2]), count=int(sys.argv[3]))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown * 1024, video.frames.numel() * 4)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts memory as Linux does")
def test_memory_is_that_of_the_result(tmp_path):
    path = save(tmp_path, torch.rand(60, 240, 320, 3), quality=40)
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", _MEASURE, str(root), str(path), "60"]
    run = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    grown, result = map(int, run.stdout.split())
    assert result == 60 * 240 * 320 * 3 * 4
    assert grown < result + 16 * 2**20


def test_the_list_of_inputs(tmp_path):
    for name in ("b.mp4", "A.MOV", "c.txt", "d.png", ".hidden.mp4"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder.mp4").mkdir()
    assert list_inputs(tmp_path, SUFFIXES) == [".hidden.mp4", "A.MOV", "b.mp4"]
    assert list_inputs(tmp_path / "none", SUFFIXES) == []
