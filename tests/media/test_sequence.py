"""Numbered pictures as a clip: exact pixels, in the order of their numbers, with every oddity said."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from opent2v.host import embedded
from opent2v.media import VideoError, read_video
from opent2v.media.sequence import check_sequence, list_sequences
from opent2v.nodes.load_video import OpenT2VLoadVideo
from opent2v.tests.media.clips import save
from opent2v.tests.nodes.calls import call, remarks


def drawn(count=3, height=24, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def put(folder, frames, name="clip_{:04d}.png", first=1, **options):
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames, first):
        Image.fromarray(frame).save(folder / name.format(number), **options)
    return folder


def as_bytes(frames):
    return (frames * 255).round().byte().numpy()


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp"])
def test_pictures_come_back_as_they_are(tmp_path, ending):
    frames = drawn()
    put(tmp_path / "shots", frames, f"clip_{{:04d}}.{ending}", **({"lossless": True} if ending == "webp" else {}))
    video = read_video(tmp_path / "shots", fps=16)
    assert np.array_equal(as_bytes(video.frames), frames)
    assert video.fps == 16 and video.audio is None and video.remarks == []


def test_jpeg_pictures_are_those_that_pillow_decodes(tmp_path):
    smooth = np.stack(
        [np.full((32, 32, 3), 40 * n, np.uint8) + np.arange(32, dtype=np.uint8)[None, :, None] for n in range(4)]
    )
    put(tmp_path / "shots", smooth, "{}.jpg", quality=95, subsampling=0)
    video = read_video(tmp_path / "shots", fps=24)
    exact = np.stack([np.asarray(Image.open(tmp_path / "shots" / f"{n}.jpg")) for n in range(1, 5)])
    assert np.abs(as_bytes(video.frames).astype(int) - exact).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_of_a_turned_camera_come_upright(tmp_path, orientation):
    """As Pillow's exif_transpose gives them."""
    picture = Image.fromarray(np.kron(drawn(1, 3, 4)[0], np.ones((8, 8, 1), np.uint8)))
    exif = picture.getexif()
    exif[0x0112] = orientation
    (tmp_path / "shots").mkdir()
    picture.save(tmp_path / "shots" / "a1.jpg", quality=98, subsampling=0, exif=exif)
    exact = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "shots" / "a1.jpg"))).astype(int)
    shown = as_bytes(read_video(tmp_path / "shots", fps=25).frames)[0]
    assert shown.shape == exact.shape and np.abs(shown - exact).max() <= 3


def test_sixteen_bits_are_kept(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 2 * 3).astype(np.uint16).reshape(2, 64, 3)
    (tmp_path / "shots").mkdir()
    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 64, 2, "rgb48be", Fraction(1, 25)
    packets = codec.encode(av.VideoFrame.from_ndarray(ramp, format="rgb48le").reformat(format="rgb48be"))
    (tmp_path / "shots" / "a1.png").write_bytes(b"".join(map(bytes, packets)))
    frames = read_video(tmp_path / "shots", fps=25).frames
    assert np.abs(frames[0].numpy() * 65535 - ramp).max() < 1


def test_transparent_pictures_stand_on_black(tmp_path):
    colours = np.full((1, 8, 8, 4), 200, np.uint8)
    colours[..., 3] = 128
    put(tmp_path / "shots", colours)
    assert as_bytes(read_video(tmp_path / "shots", fps=25).frames)[0, 0, 0].tolist() == [100, 100, 100]


def test_the_order_is_that_of_the_numbers_and_a_stretch_counts_pictures(tmp_path):
    frames = drawn(12)
    put(tmp_path / "shots", frames, "{}.png")  # 10 stands before 2 by name
    video = read_video(tmp_path / "shots", start=1, count=5, every=2, fps=10)
    assert np.array_equal(as_bytes(video.frames), frames[1:11:2]) and video.fps == 5


def test_what_the_pack_saved_as_png_is_read_again(tmp_path):
    frames = torch.from_numpy(drawn(4)).float() / 255
    folder = save(tmp_path, frames, format="png sequence")
    assert torch.equal(read_video(folder, fps=16).frames, frames)


def test_without_a_rate_the_usual_one_is_said(tmp_path):
    video = read_video(put(tmp_path / "shots", drawn()))
    assert video.fps == 25 and video.remarks == ["Pictures state no rate: they count as 25 per second; fps sets it."]


def test_missing_numbers_are_said(tmp_path):
    put(tmp_path / "shots", drawn(6))
    (tmp_path / "shots" / "clip_0003.png").unlink()
    video = read_video(tmp_path / "shots", fps=25)
    assert len(video.frames) == 5
    assert video.remarks == [
        "Numbers are missing from 3 on (5 pictures from 1 to 6); the pictures follow each other without a gap."
    ]


def test_a_damaged_picture_shows_the_one_before_and_is_said(tmp_path):
    frames = drawn(4)
    path = put(tmp_path / "shots", frames) / "clip_0003.png"
    path.write_bytes(b"no picture")
    video = read_video(tmp_path / "shots", fps=25)
    assert np.array_equal(as_bytes(video.frames), frames[[0, 1, 1, 3]])
    assert video.remarks == [
        "The file is damaged: 1 frame from number 2 on could not be decoded; the frame before stands in their place."
    ]


def test_another_size_is_said(tmp_path):
    put(tmp_path / "shots", drawn(2))
    put(tmp_path / "shots", drawn(1, 12, 12), first=3)
    video = read_video(tmp_path / "shots", fps=25)
    assert video.frames.shape == (3, 24, 32, 3) and "changes its size from 32 x 24 to 12 x 12" in video.remarks[0]


def test_of_several_sequences_one_is_named(tmp_path):
    a, b = drawn(3), drawn(2, seed=1)
    put(tmp_path / "shots", a, "a_{:03d}.png")
    put(tmp_path / "shots", b, "b{}.png")
    with pytest.raises(VideoError) as refusal:
        read_video(tmp_path / "shots")
    assert str(refusal.value) == (
        "shots holds 2 sequences of pictures: a_*.png (3); b*.png (2). Name one of them: shots/a_*.png"
    )
    for pattern, frames in (("a_*.png", a), ("a_%03d.png", a), ("a_###.png", a), ("b%d.png", b)):
        assert np.array_equal(as_bytes(read_video(tmp_path / "shots" / pattern, fps=25).frames), frames)


@pytest.fixture
def folders(tmp_path):
    embedded.configure(input=tmp_path / "input", output=tmp_path / "output")
    (tmp_path / "input").mkdir()
    return tmp_path


def test_the_node_lists_folders_of_numbered_pictures_and_reads_them(folders):
    frames = drawn()
    put(folders / "input" / "shots", frames)
    put(folders / "input" / "pasted", drawn(1), "image {}.png")
    (folders / "input" / "empty").mkdir()
    assert OpenT2VLoadVideo.INPUT_TYPES()["required"]["file"][0] == ["shots/"]
    (images, _, fps, count, width, height), _ = call("OpenT2VLoadVideo", file="shots/", fps=12.0)
    assert np.array_equal(as_bytes(images), frames) and (fps, count, width, height) == (12.0, 3, 32, 24)
    state = OpenT2VLoadVideo.IS_CHANGED(file="shots/")
    put(folders / "input" / "shots", drawn(1), first=4)
    assert OpenT2VLoadVideo.IS_CHANGED(file="shots/") != state
    put(folders / "output" / "video_00001", frames)
    (images, *_), ui = call("OpenT2VLoadVideo", file="video_00001/clip_*.png [output]")
    assert np.array_equal(as_bytes(images), frames) and "Pictures state no rate" in remarks(ui)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone/", "is not in the input folder"),
        ("../outside/", "leads out of the input folder"),
        ("empty/", "empty holds no pictures whose names end in a number"),
        ("empty/x_*.png", r"empty holds no pictures named x_\*\.png\. Read are \.png"),
        ("*.png", "holds no pictures named"),
    ],
)
def test_what_cannot_be_read_is_refused_before_the_run(folders, name, said):
    (folders / "input" / "empty").mkdir()
    (folders / "outside").mkdir()
    with pytest.raises(ValueError, match=said):
        check_sequence({"input": folders / "input"}, name)
    assert isinstance(OpenT2VLoadVideo.VALIDATE_INPUTS(file=name), str)
    assert list_sequences(folders / "nowhere") == []
