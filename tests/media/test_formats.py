"""Every format this machine can write: written, opened again, compared."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from opent2v.media import SaveSettings, VideoWriter, read_video
from opent2v.media.formats import FORMATS, available, format_of, works
from opent2v.tests.media.clips import RED, save

NTSC = Fraction(24000, 1001)
LOSSLESS = ("mkv ffv1", "png sequence")
# codec, pixel format, tag or profile where it matters; by FFmpeg's names.
EXPECTED = {
    ("mp4 h264", 8): ("h264", "yuv420p", "avc1", "High"),
    ("mp4 h264", 10): ("h264", "yuv420p10le", "avc1", "High 10"),
    ("mp4 h265", 8): ("hevc", "yuv420p", "hvc1", "Main"),
    ("mp4 h265", 10): ("hevc", "yuv420p10le", "hvc1", "Main 10"),
    ("mp4 av1", 8): ("av1", "yuv420p", "av01", "Main"),
    ("mp4 av1", 10): ("av1", "yuv420p10le", "av01", "Main"),
    ("webm vp9", 8): ("vp9", "yuv420p", None, "Profile 0"),
    ("webm av1", 8): ("av1", "yuv420p", None, "Main"),
    ("webm av1", 10): ("av1", "yuv420p10le", None, "Main"),
    ("mkv ffv1", 8): ("ffv1", "bgr0", None, None),
    ("mkv ffv1", 16): ("ffv1", "gbrp16le", None, None),
    ("mov prores 422 hq", 10): ("prores", "yuv422p10le", "apch", "HQ"),
    ("mov prores 4444", 10): ("prores", "yuv444p12le", "ap4h", "4444"),
}
# Frames to the file at quality 80, in dB; measured 1.5 to 3 higher, with 8 and with 10 bits.
CLOSE = {
    "mp4 h264": 37,
    "mp4 h265": 36,
    "mp4 av1": 36,
    "webm vp9": 37,
    "webm av1": 36,
    "mov prores 422 hq": 40,
    "mov prores 4444": 44,
    "gif": 33,
    "webp": 36,
    "mkv ffv1": 55,
    "png sequence": 55,
}


def moving_disc(frames=8, width=96, height=64, channels=3):
    """A smooth gradient with a disc that moves; the alpha channel is the disc."""
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    pictures = []
    for n in range(frames):
        distance = ((x - 0.2 - 0.6 * n / frames) * width) ** 2 + ((y - 0.5) * height) ** 2
        disc = (1 - (distance.sqrt() - 12) / 4).clamp(0, 1)[..., None]
        ground = torch.stack([0.2 + 0.6 * x, 0.2 + 0.6 * y, 0.3 + 0.2 * (x + y)], -1)
        picture = ground * (1 - disc) + torch.tensor([0.85, 0.3, 0.2]) * disc
        pictures.append(torch.cat([picture, disc], -1) if channels == 4 else picture)
    return torch.stack(pictures)


def stills(path):
    """Pictures of a WebP, a GIF or a folder as [n, H, W, C] 0..1, read by Pillow."""
    if path.is_dir():
        pictures = [Image.open(one) for one in sorted(path.iterdir())]
    else:
        pictures = [one.copy() for one in ImageSequence.Iterator(Image.open(path))]
    has_alpha = any(one.mode in ("RGBA", "LA") or "transparency" in one.info for one in pictures)
    mode = "RGBA" if has_alpha else "RGB"
    return torch.stack([torch.from_numpy(np.array(one.convert(mode))) for one in pictures]).float() / 255


def reread(path):
    if path.is_dir() or path.suffix == ".webp":
        return stills(path)[..., :3]
    return read_video(path).frames


def psnr(one, other):
    return float(-10 * torch.log10(((one - other) ** 2).mean() + 1e-12))


def size(path):
    return path.stat().st_size if path.is_file() else sum(one.stat().st_size for one in path.iterdir())


@pytest.mark.parametrize(("key", "bits"), EXPECTED)
def test_a_file_says_what_it_is(tmp_path, key, bits):
    codec, pixels, tag, profile = EXPECTED[key, bits]
    path = save(tmp_path, moving_disc(), format=key, bit_depth=bits, fps=23.976)
    assert path.name == f"clip_00001{FORMATS[key].suffix}"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.codec.canonical_name, context.pix_fmt, context.profile) == (codec, pixels, profile)
        assert tag is None or context.codec_tag == tag
        assert stream.average_rate == NTSC
        assert (context.width, context.height) == (96, 64)
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        frames = list(container.decode(video=0))
    assert len(frames) == 8
    if FORMATS[key].is_rgb:
        assert tags == (0, 1, 13, 2)
    elif codec == "prores":  # stores no range; limited is the only one it has
        assert tags[:3] == (1, 1, 1)
    else:
        assert tags == (1, 1, 1, 1)


@pytest.mark.parametrize("key", CLOSE)
def test_the_picture_is_close_and_quality_costs_bytes(tmp_path, key):
    clip = moving_disc()
    paths = {quality: save(tmp_path, clip, format=key, quality=quality) for quality in (20, 80, 100)}
    found = {quality: reread(path) for quality, path in paths.items()}
    assert {frames.shape for frames in found.values()} == {clip.shape}
    distances = [psnr(frames, clip) for frames in found.values()]
    assert distances[1] > CLOSE[key]
    sizes = [size(path) for path in paths.values()]
    if key in LOSSLESS:
        assert len(set(distances)) == 1
    else:
        assert distances[0] < distances[1] < distances[2]
        assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize("key", ["mp4 h264", "mp4 h265", "mp4 av1", "webm av1"])
def test_ten_bits_hold_a_finer_ramp(tmp_path, key):
    """A ramp over a twentieth of the range has 13 steps with 8 bits, and many more with 10."""
    ramp = (0.5 + torch.linspace(0, 0.05, 192)).view(1, 1, 192, 1).expand(3, 64, 192, 3)
    steps = []
    for depth in (8, 10):
        frames = read_video(save(tmp_path, ramp, format=key, bit_depth=depth, quality=100)).frames
        steps.append(len(frames[1, 32, :, 1].mul(1023).round().unique()))
    assert steps[1] > 2 * steps[0]


def test_lossless_is_lossless(tmp_path):
    noise = torch.randint(0, 256, (5, 33, 47, 3)) / 255
    for key in LOSSLESS:
        assert torch.equal(reread(save(tmp_path, noise, format=key)).mul(255).round(), noise.mul(255).round())
    fine = torch.randint(0, 65536, (3, 33, 47, 3)) / 65535
    found = read_video(save(tmp_path, fine, format="mkv ffv1", bit_depth=16)).frames
    assert torch.equal(found.mul(65535).round(), fine.mul(65535).round())
    path = save(tmp_path, fine, format="png sequence", bit_depth=16)
    for number, picture in enumerate(sorted(path.iterdir())):
        with av.open(str(picture)) as container:
            pixels = next(container.decode(video=0)).to_ndarray(format="rgb48le")
        assert (pixels == fine[number].mul(65535).round().to(torch.int32).numpy()).all()


# --- alpha ---


def test_alpha_of_pictures_and_ffv1(tmp_path):
    clip = moving_disc(channels=4)
    assert psnr(stills(save(tmp_path, clip, format="png sequence")), clip) > 55
    webp = stills(save(tmp_path, clip, format="webp"))
    assert psnr(webp[..., 3], clip[..., 3]) > 55  # libwebp keeps alpha exact
    gif = stills(save(tmp_path, clip, format="gif"))
    assert (gif[..., 3] - (clip[..., 3] > 0.5).float()).abs().mean() < 0.01  # GIF: there or not there
    with av.open(str(save(tmp_path, clip, format="mkv ffv1"))) as container:
        pictures = [frame.to_ndarray(format="rgba") for frame in container.decode(video=0)]
    assert (torch.from_numpy(np.stack(pictures)) == clip.mul(255).round()).all()


def test_alpha_of_prores_4444(tmp_path):
    clip = moving_disc(channels=4)
    with av.open(str(save(tmp_path, clip, format="mov prores 4444"))) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuva444p12le"
        planes = [np.frombuffer(bytes(frame.planes[3]), "<u2") for frame in container.decode(video=0)]
    alpha = torch.from_numpy(np.stack(planes).astype(np.float32))[:, : 64 * 96].view(8, 64, 96) / 4095
    assert (alpha - clip[..., 3]).abs().max() < 0.01


def test_alpha_of_vp9(tmp_path):
    """FFmpeg's own decoder shows the picture only; libvpx gives both, as browsers do."""
    clip = moving_disc(channels=4)
    path = save(tmp_path, clip, format="webm vp9")
    decoder = av.CodecContext.create("libvpx-vp9", "r")
    with av.open(str(path)) as container:
        assert container.streams.video[0].metadata.get("alpha_mode", "").strip() == "1"
        frames = [frame for packet in container.demux(video=0) if packet.size for frame in decoder.decode(packet)]
    assert [frame.format.name for frame in frames] == ["yuva420p"] * 8
    alpha = torch.stack([torch.from_numpy(frame.to_ndarray(format="rgba")[..., 3]).float() / 255 for frame in frames])
    assert psnr(alpha, clip[..., 3]) > 30


def test_alpha_is_left_out_with_a_remark(tmp_path):
    with VideoWriter(tmp_path, "clip", fps=16, width=96, height=64) as writer:
        writer.write(moving_disc(channels=4))
        writer.write(moving_disc(channels=4))
    assert writer.remarks == ["The alpha channel was left out: mp4 h264 has none."]
    message = r"Frame 9 has 3 channels, the video began with 4; give all frames an alpha"
    writer = VideoWriter(tmp_path, "clip", SaveSettings("webp"), fps=16, width=96, height=64)
    with pytest.raises(ValueError, match=message), writer:
        writer.write(moving_disc(channels=4))
        writer.write(moving_disc())
    assert len(list(tmp_path.iterdir())) == 1


# --- sizes ---


@pytest.mark.parametrize(
    ("key", "padded", "cropped"),
    [
        ("mp4 h264", (68, 66), (66, 64)),
        ("webm vp9", (68, 66), (66, 64)),
        ("mov prores 422 hq", (68, 65), (66, 65)),
        ("mov prores 4444", (67, 65), (67, 65)),
        ("mkv ffv1", (67, 65), (67, 65)),
        ("gif", (67, 65), (67, 65)),
        ("webp", (67, 65), (67, 65)),
        ("png sequence", (67, 65), (67, 65)),
    ],
)
def test_sizes(tmp_path, key, padded, cropped):
    clip = moving_disc(3, 67, 65)
    for rule, expected in (("pad", padded), ("crop", cropped)):
        frames = reread(save(tmp_path, clip, format=key, quality=100, size_rule=rule))
        assert (frames.shape[2], frames.shape[1]) == expected == SaveSettings(key, size_rule=rule).stored_size(67, 65)
        rows, columns = min(65, expected[1]), min(67, expected[0])
        assert psnr(frames[:, :rows, :columns], clip[:, :rows, :columns]) > 30


def test_sizes_that_a_format_does_not_take(tmp_path):
    for key, side in (("mp4 av1", 63), ("mp4 h265", 15), ("webp", 16384), ("mp4 h264", 16385)):
        low, high = FORMATS[key].sides
        with pytest.raises(ValueError, match=rf"would be {side}x{side} pixels; {key} takes {low} to {high} per side"):
            VideoWriter(tmp_path, "clip", SaveSettings(key), fps=16, width=side, height=side)
    # x265's vector code writes beyond 48 pixels, which glibc's checks of the heap show each time.
    with pytest.raises(ValueError, match=r"would be 48 pixels wide; mp4 h265 takes 64 and more, .* Choose mp4 h264"):
        SaveSettings("mp4 h265").stored_size(48, 130)
    with pytest.raises(ValueError, match=r"Nothing would be left of 1x2 pixels after cropping .* set size_rule to pad"):
        SaveSettings(size_rule="crop").stored_size(1, 2)
    for key in available():
        low = FORMATS[key].sides[0]
        path = save(tmp_path, moving_disc(2, max(low, FORMATS[key].narrowest), low), format=key)
        assert len(reread(path)) == 2, key


# --- time ---


def test_animated_pictures_keep_the_rate(tmp_path):
    clip = moving_disc(24, 16, 16)
    with Image.open(save(tmp_path, clip, format="webp", fps=23.976)) as picture:
        assert (picture.n_frames, picture.info["loop"]) == (24, 0)
        times = []
        for n in range(24):
            picture.seek(n)
            picture.load()
            times.append(picture.info["duration"])
    assert sum(times) == round(24 / NTSC * 1000) and set(times) == {41, 42}
    with Image.open(save(tmp_path, clip, format="gif", fps=16)) as picture:
        assert (picture.n_frames, picture.info["loop"]) == (24, 0)
        times = [picture.seek(n) or picture.info["duration"] for n in range(24)]
    assert set(times) == {60, 70} and sum(times[:16]) == 1000
    with pytest.raises(ValueError, match=r"fps is 60, but a GIF shows 50 frames a second at most. Lower it or choose"):
        save(tmp_path, clip, format="gif", fps=60)


def test_a_gif_draws_a_few_flat_colours_well(tmp_path):
    """What the bundled model makes: shapes in plain colours."""
    clip = torch.tensor([0.96, 0.91, 0.78]).expand(6, 64, 64, 3).clone()
    for n in range(6):
        clip[n, 20:40, 5 * n : 5 * n + 20] = torch.tensor(RED)
    frames = stills(save(tmp_path, clip, format="gif", quality=100))[..., :3]
    assert (frames - clip).abs().max() < 3 / 255


def test_one_frame_is_enough(tmp_path):
    for key in available():
        assert len(reread(save(tmp_path, moving_disc(1), format=key))) == 1, key


# --- settings ---


def test_rate_factor_and_preset():
    options = FORMATS["mp4 h264"].options(80, 23.5, "slow")
    assert (options["crf"], options["preset"]) == ("23.5", "slow")
    assert FORMATS["mp4 h264"].options(80, None, "")["preset"] == "medium"
    assert FORMATS["webm vp9"].options(80, None, None)["crf"] == "25"
    crfs = [FORMATS["mp4 av1"].options(quality, None, None)["crf"] for quality in (0, 40, 80, 90, 100)]
    assert crfs == ["63", "45", "27", "17", "7"]
    assert FORMATS["mov prores 422 hq"].options(0, 2, None)["global_quality"] == "236"


def test_a_rate_factor_beats_quality(tmp_path):
    clip = moving_disc()
    for key in ("mp4 h264", "mp4 h265", "mp4 av1", "webm vp9", "mov prores 4444"):
        low, high = FORMATS[key].encoder().limits
        fine, coarse = (save(tmp_path, clip, format=key, crf=crf) for crf in (low + 8, high - 2))
        assert psnr(reread(fine), clip) > psnr(reread(coarse), clip) + 3, key


def test_presets_are_used(tmp_path):
    clip = torch.rand(8, 32, 48, 3, generator=torch.Generator().manual_seed(0)).repeat_interleave(4, 1)
    clip = clip.repeat_interleave(4, 2)
    fast, slow = (save(tmp_path, clip, preset=preset) for preset in ("ultrafast", "veryslow"))
    assert size(slow) < size(fast)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "avi"}, "format is 'avi'; expected mp4 h264, mp4 h265, .* or png sequence"),
        ({"format": None}, "format is None; expected mp4 h264"),
        ({"bit_depth": 12}, "bit_depth is 12; expected 8, 10 or 16"),
        ({"bit_depth": True}, "bit_depth is True; expected 8, 10 or 16"),
        ({"bit_depth": 16}, r"bit_depth is 16, but mp4 h264 has 10 bits at most. Set bit_depth to 10, or choose mkv"),
        ({"format": "gif", "bit_depth": 10}, "bit_depth is 10, but gif has 8 bits at most"),
        ({"crf": 52}, r"crf is 52; mp4 h264 takes 0 \(best\) to 51, or -1: from quality"),
        ({"crf": float("nan")}, "crf is nan; mp4 h264 takes"),
        ({"format": "mkv ffv1", "crf": 20}, "crf is 20, but mkv ffv1 has no rate factor. Leave crf at -1"),
        ({"preset": "turbo"}, "preset is 'turbo'; mp4 h264 has ultrafast, .*, veryslow. Empty: the usual one"),
        ({"format": "gif", "preset": "slow"}, "preset is 'slow', but gif has no presets. Leave preset empty"),
        ({"size_rule": "stretch"}, "size_rule is 'stretch'; expected pad or crop"),
        ({"audio_length": "loop"}, "audio_length is 'loop'; expected cut or pad"),
    ],
)  # fmt: skip
def test_bad_settings(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        VideoWriter(tmp_path, "clip", SaveSettings(**settings), fps=16, width=64, height=48)
    with pytest.raises(ValueError, match=message):
        SaveSettings(**settings).check()
    assert list(tmp_path.iterdir()) == []


# --- what this machine has ---


def test_a_missing_encoder_is_named(monkeypatch):
    monkeypatch.setattr(av, "codecs_available", frozenset({"libaom-av1"}))
    assert FORMATS["mp4 av1"].encoder().name == "libaom-av1"
    with pytest.raises(RuntimeError, match="This PyAV has no libx264 encoder; install the 'av' wheel from PyPI"):
        FORMATS["mp4 h264"].encoder()
    assert works(FORMATS["webm av1"]) and not works(FORMATS["mp4 h264"])


def test_hardware_is_offered_only_where_it_encodes():
    hardware = [one for one in FORMATS.values() if one.is_hardware]
    assert {one.key.split()[2] for one in hardware} == {"nvenc", "qsv", "amf", "videotoolbox"}
    assert set(available()) == {key for key, one in FORMATS.items() if works(one)}
    for one in hardware:
        if one.key not in available():
            with pytest.raises(ValueError, match=f"'{one.key}', but its encoder does not work on this machine"):
                format_of(one.key)


def test_the_probe_encodes_a_picture():
    """With a software encoder in the place of the hardware one, the probe says yes."""
    pretended = replace(FORMATS["mp4 h264"], key="mp4 h264 pretended", is_hardware=True)
    assert works(pretended)
    assert not works(replace(pretended, pixels={8: "bgr0"}))  # there, but it refuses every picture


def test_keys_are_plain():
    for key, one in FORMATS.items():
        assert key == one.key == key.lower()
        assert one.is_hardware or format_of(key) is one
        assert 8 in one.pixels or min(one.pixels) == 10
        assert set(one.alpha) <= set(one.pixels)
