"""A clip is written, reopened with PyAV and compared."""

import os
from fractions import Fraction

import av
import pytest
import torch

from opent2v.media import SaveSettings, VideoWriter
from opent2v.media import writer as writer_module
from opent2v.media.formats import FORMATS
from opent2v.media.settings import exact_fps
from opent2v.tests.media.clips import GREEN, GREY, RED, boxes, read, save, seconds, solid

# --- the picture ---


def test_file_is_what_every_player_takes(tmp_path):
    path = save(tmp_path, torch.rand(20, 48, 64, 3))
    assert path == tmp_path / "clip_00001.mp4"
    assert os.listdir(tmp_path) == ["clip_00001.mp4"]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, context.profile) == ("h264", "yuv420p", "High")
        assert (context.width, context.height) == (64, 48)
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert (stream.average_rate, stream.frames, stream.start_time) == (16, 20, 0)
        assert seconds(stream) == Fraction(20, 16)
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_index_lies_in_front(tmp_path):
    kinds = [kind for kind, _, _ in boxes(save(tmp_path, solid(RED)).read_bytes())]
    assert kinds.index("moov") < kinds.index("mdat")


@pytest.mark.parametrize("colour", [RED, GREEN, (0.0, 0.0, 1.0), GREY, (0.8, 0.35, 0.1), (1.0, 1.0, 1.0)])
def test_colours_are_bt709_limited_range(tmp_path, colour):
    path = save(tmp_path, solid(colour))
    r, g, b = colour
    luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
    expected = [16 + 219 * luma, 128 + 224 * (b - luma) / 1.8556, 128 + 224 * (r - luma) / 1.5748]
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        found = [bytes(plane)[0] for plane in frame.planes]
    assert found == pytest.approx(expected, abs=1.01)
    difference = read(path)[0].float() - torch.tensor(colour) * 255
    assert difference.abs().max() <= 3


def test_pictures_keep_their_order_and_place(tmp_path):
    clip = torch.zeros(12, 48, 96, 3)
    for n in range(12):
        clip[n, 16:32, 8 * n : 8 * n + 8] = 1  # a white bar moving right, one width per frame
    bars = read(save(tmp_path, clip, quality=95)).float().mean(dim=(1, 3))  # [n, W]
    centres = (bars * torch.arange(96)).sum(1) / bars.sum(1)
    assert centres.tolist() == pytest.approx([8 * n + 3.5 for n in range(12)], abs=1)


def test_chunks_give_the_same_pictures_as_one_call(tmp_path):
    """Told without losses: on some machines x264 makes other bytes of the same small frames."""
    clip = torch.rand(9, 48, 64, 3)
    with VideoWriter(tmp_path, "parts", SaveSettings("mkv ffv1"), fps=16, width=64, height=48) as writer:
        for chunk in (clip[:1], clip[1:1], clip[1:6], clip[6:]):
            writer.write(chunk)
    assert len(read(writer.path)) == 9
    assert (read(writer.path) == read(save(tmp_path, clip, format="mkv ffv1"))).all()


def test_long_clips_are_converted_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "_PIECE_NUMBERS", 3 * 64 * 48 * 2)
    convert, pieces = VideoWriter._to_pixels, []
    monkeypatch.setattr(VideoWriter, "_to_pixels", lambda self, f: pieces.append(len(f)) or convert(self, f))
    assert len(read(save(tmp_path, solid(RED, frames=5)))) == 5
    assert pieces == [2, 2, 1]


@pytest.mark.parametrize(("width", "height"), [(35, 33), (64, 33), (35, 48), (1, 1), (2, 2)])
def test_odd_sides_repeat_the_last_column_and_row(tmp_path, width, height):
    clip = solid(GREY, width=width, height=height).clone()
    clip[:, -1, :] = clip[:, :, -1] = 1
    pictures = read(save(tmp_path, clip, quality=100))
    assert pictures.shape[1:3] == (height + height % 2, width + width % 2)
    assert pictures[:, -1, -1].min() >= 245


def test_grey_becomes_rgb_and_alpha_is_dropped(tmp_path):
    assert read(save(tmp_path, solid((0.5,)))).float().sub(127.5).abs().max() <= 3
    see_through = torch.cat([solid(RED), torch.zeros(5, 48, 64, 1)], dim=-1)
    assert (read(save(tmp_path, see_through)) == read(save(tmp_path, solid(RED)))).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_float_types_and_values_beyond_the_range(tmp_path, dtype):
    pictures = read(save(tmp_path, solid((1.5, -0.5, 0.0)).to(dtype)))
    assert (pictures[0, 0, 0].float() - torch.tensor([255.0, 0, 0])).abs().max() <= 3


def test_values_are_rounded_not_cut(tmp_path):
    writer = VideoWriter(tmp_path, "clip", fps=16, width=4, height=2)
    values = torch.tensor([0.4, 0.6, 254.4, 254.6]) / 255
    assert writer._to_pixels(values.view(1, 1, 4, 1).expand(1, 2, 4, 3))[0, 0, :, 0].tolist() == [0, 1, 254, 255]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_frames_on_a_gpu(tmp_path):
    assert len(read(save(tmp_path, solid(RED).cuda()))) == 5


def test_quality_goes_from_small_to_close(tmp_path):
    crfs = [FORMATS["mp4 h264"].options(q, None, None)["crf"] for q in (0, 50, 80, 100)]
    assert crfs == ["51", "31", "19", "11"]
    clip = torch.rand(8, 6, 8, 3).repeat_interleave(8, 1).repeat_interleave(8, 2)
    small, large = (save(tmp_path, clip, quality=q) for q in (20, 100))
    assert small.stat().st_size < large.stat().st_size
    assert (read(large) / 255.0 - clip).abs().mean() < (read(small) / 255.0 - clip).abs().mean()


@pytest.mark.parametrize("quality", [-1, 101, float("nan"), "80", None])
def test_bad_quality(tmp_path, quality):
    with pytest.raises(ValueError, match=r"quality is .*; expected a number from 0 .* to 100"):
        VideoWriter(tmp_path, "clip", SaveSettings(quality=quality), fps=16, width=64, height=48)


# --- time ---


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (16.0, Fraction(16)),
        (24, Fraction(24)),
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (119.88, Fraction(120000, 1001)),
        (12.5, Fraction(25, 2)),
        (8.333, Fraction(8333, 1000)),
        (0.01, Fraction(1, 100)),
        (1000, Fraction(1000)),
        (Fraction(30000, 1001), Fraction(30000, 1001)),
    ],
)
def test_fps_is_exact(tmp_path, fps, expected):
    assert exact_fps(fps) == expected
    with av.open(str(save(tmp_path, solid(RED, frames=3), fps=fps))) as container:
        assert container.streams.video[0].average_rate == expected
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([0, 1 / expected, 2 / expected], rel=1e-4)


@pytest.mark.parametrize("fps", [0, -1, 0.001, 1000.5, float("nan"), float("inf"), "16", None, True])
def test_bad_fps(tmp_path, fps):
    with pytest.raises(ValueError, match=r"fps is .*; expected a number from 0.01 to 1000 frames per second"):
        VideoWriter(tmp_path, "clip", fps=fps, width=64, height=48)
    assert os.listdir(tmp_path) == []


# --- bad frames ---


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(2, 48, 64, 2), r"Frames are \[2, 48, 64, 2\]; expected a tensor \[frames, height, width, channe"),
        (torch.zeros(48, 64, 3), r"Frames are \[48, 64, 3\]; expected"),
        (torch.zeros(2, 3, 48, 64), r"Frames are \[2, 3, 48, 64\]; expected"),
        (None, "Frames are NoneType; expected"),
        (torch.zeros(2, 48, 64, 3, dtype=torch.uint8), r"Frames are torch\.uint8; expected floating point numbers"),
        (torch.zeros(2, 48, 32, 3), r"Frame 4 is 32x48, the video is 64x48; resize the frames"),
        (torch.full((2, 48, 64, 3), float("nan")), r"Frame 4 has NaN or infinite values"),
        (solid(RED, 2) / torch.tensor([1.0, 0.0]).view(2, 1, 1, 1), r"Frame 5 has NaN or infinite values"),
    ],
)  # fmt: skip
def test_bad_frames_in_the_middle(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message), VideoWriter(tmp_path, "c", fps=16, width=64, height=48) as writer:
        writer.write(solid(RED, frames=3))
        writer.write(frames)
    assert os.listdir(tmp_path) == []
    with pytest.raises(RuntimeError, match="not finished"):
        _ = writer.path


def test_huge_values_are_clipped_as_others_beyond_1(tmp_path):
    path = save(tmp_path, torch.full((2, 48, 64, 3), 3e38), format="mkv ffv1")
    assert (read(path) == 255).all()


def test_no_frames(tmp_path):
    with pytest.raises(ValueError, match="The video has no frames; a video needs at least one"):
        save(tmp_path, torch.zeros(0, 48, 64, 3))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("width", "height"), [(0, 48), (64, -2), (16385, 48), (10**9, 10**9)])
def test_absurd_sizes(tmp_path, width, height):
    with pytest.raises(ValueError, match=rf"would be {width}x{height} pixels; mp4 h264 takes 1 to 16384 per side"):
        VideoWriter(tmp_path, "clip", fps=16, width=width, height=height)


def test_a_stem_is_a_plain_name(tmp_path):
    for stem in ("../clip", "a/b", "", "C:clip"):
        with pytest.raises(ValueError, match="file or folder name"):
            VideoWriter(tmp_path, stem, fps=16, width=64, height=48)


def test_used_outside_its_block_or_twice(tmp_path):
    writer = VideoWriter(tmp_path, "clip", fps=16, width=64, height=48)
    with pytest.raises(RuntimeError, match="inside the with-block"):
        writer.write(solid(RED))
    with writer:
        writer.write(solid(RED))
    with pytest.raises(RuntimeError, match="make a new one"), writer:
        pass
    assert os.listdir(tmp_path) == ["clip_00001.mp4"]
