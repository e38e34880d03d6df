"""Damaged, cut-off and odd files: read to their end, in step, and what is lost is told.

Tests: media/film.py, media/reader_sound.py, media/animation.py, media/deinterlace.py, media/memory.py
The files are made with PyAV; frame n has brightness 2n (see `test_reader.write`), sound is a tone or clicks.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from opent2v.media import VideoError, read_video
from opent2v.media import memory as memory_room
from opent2v.tests.media.clips import numbers, save

FPS, RATE = 25, 48000
X264 = {"crf": "0", "g": "10", "bf": "2", "sc_threshold": "0"}


def clicks(seconds: float) -> np.ndarray:
    """Silence with 10 ms of a tone in the middle of each second, [1, n] float32."""
    wave = np.zeros((1, int(seconds * RATE)), np.float32)
    for second in range(int(seconds)):
        begin = int((second + 0.5) * RATE)
        wave[0, begin : begin + 480] = 0.7 * np.sin(np.arange(480) * 2 * np.pi * 2000 / RATE)
    return wave


def heard(audio: dict) -> list[float]:
    """Seconds at which a click begins, to a tenth."""
    wave, rate = audio["waveform"][0, 0].abs().numpy(), audio["sample_rate"]
    found: list[float] = []
    for sample in np.flatnonzero(wave > 0.25):
        if not found or sample / rate - found[-1] > 0.2:
            found.append(sample / rate)
    return [round(second, 1) for second in found]


def film(
    path: Path,
    frames: int = 75,
    codec: str = "libx264rgb",
    pixels: str = "rgb24",
    sound: str = "",
    wave=None,
    **options,
) -> Path:
    grain = np.random.default_rng(0)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=FPS, options=options or (X264 if "264" in codec else {}))
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        track = output.add_stream(sound, rate=RATE, layout="mono") if sound else None
        for n in range(frames):
            # The grain makes every packet large: a damage then meets pictures, and not the container's own tables.
            picture = np.clip(2 * (n % 128) + grain.integers(-1, 2, (48, 64, 3)), 0, 255)
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if track is not None:
            wave = clicks(frames / FPS) if wave is None else wave
            for begin in range(0, wave.shape[1], RATE):
                piece = av.AudioFrame.from_ndarray(wave[:, begin : begin + RATE], format="fltp", layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = RATE, begin, Fraction(1, RATE)
                output.mux(track.encode(piece))
            output.mux(track.encode(None))
    return path


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(**{kind: 0}) if packet.size]


def spoil(path: Path, content: bytes) -> None:
    """Overwrite a packet with what no decoder knows."""
    data = bytearray(path.read_bytes())
    place = data.index(content)
    data[place : place + len(content)] = b"\x55" * len(content)
    path.write_bytes(data)


# --- what cannot be decoded ---


@pytest.mark.parametrize("sound", ["aac", "ac3", "flac", "libmp3lame"])
def test_sound_goes_on_behind_a_damaged_packet(tmp_path, sound):
    path = film(tmp_path / "clip.mkv", 150, sound=sound)
    all_of_it = packets(path, "audio")
    place = next(n for n in range(len(all_of_it) // 3, len(all_of_it)) if all_of_it.count(all_of_it[n]) == 1)
    spoil(path, all_of_it[place])
    video = read_video(path)
    when = place / len(all_of_it) * 6
    assert [second for second in heard(video.audio) if second > when + 0.2] == [
        second for second in (0.5, 1.5, 2.5, 3.5, 4.5, 5.5) if second > when + 0.2
    ]
    assert len(video.frames) == 150
    assert len(video.remarks) == 1 and video.remarks[0].startswith(f"The sound is damaged at {when:.1f}"[:-1])
    assert video.remarks[0].endswith("what could not be decoded is silence.")


def refused_packets(path) -> int:
    """How many packets of the video a decoder with one thread refuses."""
    refused = 0
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        for packet in container.demux(container.streams.video[0]):
            try:
                packet.decode()
            except av.error.FFmpegError:
                refused += 1
    return refused


def test_frames_go_on_behind_a_damaged_packet(tmp_path):
    path = film(tmp_path / "clip.mkv", 75, "ffv1", "bgr0", g="1")
    spoil(path, packets(path, "video")[30])
    video = read_video(path)
    shown = numbers(video.frames)
    assert len(shown) == 75 and shown[:30] == list(range(30)) and shown[31:] == list(range(31, 75))
    if refused_packets(path):  # the frame before stands in its place; FFmpeg 7 shows the damage without a word
        assert shown[30] == 29
        assert video.remarks == [
            "The file is damaged: 1 frame from number 30 on could not be decoded; the frame before "
            "stands in their place."
        ]
    # What is not asked for is not told.
    assert read_video(path, count=20).remarks == []
    assert numbers(read_video(path, start=40, count=3).frames) == [40, 41, 42]


@pytest.mark.parametrize("share", [50, 70])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.flv", "clip.mov"])
def test_a_cut_off_file_says_so(tmp_path, name, share):
    codec, pixels, options = "libx264", "yuv444p", {"crf": "1", "g": "10"}
    if name in ("clip.avi", "clip.flv"):
        codec, pixels, options = name[-3:].replace("avi", "mpeg4"), "yuv420p", {"g": "10", "b": "4000000", "qmax": "2"}
    path = film(tmp_path / name, 100, codec, pixels, **options)
    if path.suffix in (".mp4", ".mov"):  # the index goes to the front, as in files made for the net
        moved = tmp_path / f"moved{path.suffix}"
        with av.open(str(path)) as source, av.open(str(moved), "w", options={"movflags": "faststart"}) as output:
            copy = output.add_stream_from_template(source.streams.video[0], opaque=True)
            for packet in source.demux(source.streams.video[0]):
                if packet.size:
                    packet.stream = copy
                    output.mux(packet)
        path = moved
    whole = read_video(path)
    assert len(whole.frames) == 100 and whole.remarks == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size * share // 100])
    cut = read_video(path)
    assert 5 < len(cut.frames) < 90
    assert cut.remarks and cut.remarks[0].startswith("The file is damaged or cut off: it holds ")


# --- times ---


@pytest.mark.parametrize("bf", ["0", "3"])
def test_containers_without_display_times_are_counted(tmp_path, bf):
    path = film(tmp_path / "clip.avi", 60, "libx264rgb", "rgb24", crf="0", g="10", bf=bf, sc_threshold="0")
    assert numbers(read_video(path).frames) == list(range(60))
    assert numbers(read_video(path, start=20, count=5).frames) == list(range(20, 25))


def test_a_clock_that_jumps_is_set_back(tmp_path):
    """Two recordings, one behind the other in one transport stream; the second one's clock is an hour ahead."""
    first = film(tmp_path / "first.ts", 50, sound="mp2").read_bytes()
    late = tmp_path / "late.ts"
    with av.open(str(tmp_path / "first.ts")) as source, av.open(str(late), "w") as output:
        copies = {
            s.index: output.add_stream_from_template(s, opaque=True)
            for s in (*source.streams.video, *source.streams.audio)
        }
        for packet in source.demux():
            if packet.size:
                for name in ("pts", "dts"):
                    setattr(packet, name, getattr(packet, name) + int(3600 / packet.time_base))
                packet.stream = copies[packet.stream.index]
                output.mux(packet)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first + late.read_bytes())
    video = read_video(joined)
    assert 98 <= len(video.frames) <= 102
    assert video.audio is not None and abs(video.audio["waveform"].shape[-1] / RATE - 4) < 0.3
    assert numbers(video.frames)[:50] == list(range(50)) and numbers(video.frames)[-5:] == list(range(45, 50))


def test_a_recording_that_begins_between_keyframes_starts_with_the_first_whole_frame(tmp_path):
    path = film(tmp_path / "clip.ts", 60)
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 3 // 188 * 188 :])
    video = read_video(path)
    shown = numbers(video.frames)
    assert shown[0] % 10 == 0 and shown == list(range(shown[0], 60))


# --- sound ---


@pytest.mark.parametrize("channels", [6, 7, 8, 10, 16])
def test_many_channels(tmp_path, channels):
    """In a process of its own: PyAV reads behind the end of a frame with eight planes, which may end it."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg makes this file, and is not installed")
    path = tmp_path / "clip.mkv"
    tones = "|".join(f"sin({200 + 50 * n}*2*PI*t)/2" for n in range(channels))
    layout = {6: "5.1", 7: "6.1", 8: "7.1", 10: "10c", 16: "hexadecagonal"}[channels]
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x64:r=25:d=1", "-f", "lavfi", "-i"]
    command += [f"aevalsrc={tones}:c={layout}:s=48000:d=1", "-c:v", "ffv1", "-c:a", "pcm_s16le", str(path)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this ffmpeg does not make so many channels")
    run = subprocess.run(
        [sys.executable, "-c", _CHANNELS, str(Path(__file__).parents[2]), str(path)], capture_output=True
    )
    assert run.returncode == 0, run.stderr[-500:]
    assert run.stdout.decode().strip() == str([200 + 50 * n for n in range(channels)])


_CHANNELS = """
import sys, types
package = types.ModuleType("opent2v"); package.__path__ = [sys.argv[1]]; sys.modules["opent2v"] = package
from pathlib import Path
import numpy as np
from opent2v.media import read_video
audio = read_video(Path(sys.argv[2])).audio
print([int(np.abs(np.fft.rfft(wave)).argmax()) for wave in audio["waveform"][0].numpy()])
"""


def test_surround_sound_survives_saving(tmp_path):
    tones = torch.stack([torch.sin(torch.arange(RATE) * 2 * torch.pi * (200 + 50 * n) / RATE) / 2 for n in range(6)])
    path = save(tmp_path, torch.zeros(16, 48, 64, 3), audio={"waveform": tones[None], "sample_rate": RATE})
    audio = read_video(path).audio
    loudest = [int(np.abs(np.fft.rfft(wave[:RATE])).argmax()) for wave in audio["waveform"][0].numpy()]
    assert loudest[:3] == [200, 250, 300] and loudest[4:] == [400, 450]  # AAC keeps of the fourth what is below 120 Hz


# --- pictures ---


@pytest.mark.parametrize("format", ["webp", "gif"])
def test_animated_pictures_come_back(tmp_path, format):
    shades = torch.linspace(0, 1, 6).view(6, 1, 1, 1).expand(6, 48, 64, 3)
    path = save(tmp_path, shades, format=format, fps=10, quality=100)
    video = read_video(path)
    assert len(video.frames) == 6 and video.fps == 10 and video.remarks == []
    assert (video.frames - shades).abs().max() < 0.05
    assert torch.equal(read_video(path, start=4).frames, video.frames[4:])


def test_animated_png(tmp_path):
    from PIL import Image

    pictures = [Image.new("RGB", (32, 16), (40 * n, 0, 0)) for n in range(5)]
    pictures[0].save(
        tmp_path / "clip.apng",
        format="PNG",
        save_all=True,
        append_images=pictures[1:],
        duration=50,
        default_image=False,
    )
    video = read_video(tmp_path / "clip.apng")
    assert video.fps == 20 and (video.frames[:, 0, 0, 0] * 255).round().tolist() == [0, 40, 80, 120, 160]


def test_a_size_that_changes_is_scaled_and_told(tmp_path):
    small, large = film(tmp_path / "a.ts", 20), tmp_path / "b.ts"
    with av.open(str(large), "w") as output:
        stream = output.add_stream("libx264rgb", rate=FPS, options=X264)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "rgb24"
        for n in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((96, 128, 3), 2 * (20 + n), np.uint8), format="rgb24")
            frame.pts, frame.time_base = 20 + n, Fraction(1, FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    video = read_video(joined)
    assert video.frames.shape[1:] == (48, 64, 3) and numbers(video.frames)[-1] == 39
    assert "changes its size from 64 x 48 to 128 x 96" in " ".join(video.remarks)


def test_interlaced_pictures_are_made_whole_or_left(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg2video", rate=FPS, options={"flags": "+ildct+ilme", "qscale": "1", "g": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for n in range(8):
            picture = np.zeros((64, 64, 3), np.uint8)
            picture[0::2, 8 * n : 8 * n + 8] = picture[1::2, min(56, 8 * n + 4) : 8 * n + 12] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))

    def combs(frames):
        return (frames[:, 1:-1] - (frames[:, :-2] + frames[:, 2:]) / 2).abs().mean()

    whole, combed = read_video(path), read_video(path, deinterlace=False)
    if not combed.remarks:
        pytest.skip("this encoder does not mark its pictures as interlaced")
    assert combs(whole.frames) < 0.5 * combs(combed.frames) and len(whole.frames) == len(combed.frames) == 8
    assert "were made whole" in whole.remarks[0] and "show combs" in combed.remarks[0]


def test_what_memory_does_not_hold_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(memory_room, "free_memory", lambda: 10**6)
    with pytest.raises(VideoError) as error:
        read_video(film(tmp_path / "clip.mkv", 75))
    assert str(error.value) == (
        "75 frames of 64 x 48 of clip.mkv take 0.0 GB of memory; 0.0 GB are free. Set count to 21 at most, or every, "
        "fps, width and height for fewer or smaller frames."
    )


def test_animated_pictures_without_a_whole_one_are_refused(tmp_path):
    from PIL import Image

    pictures = [Image.effect_noise((32, 16), 20 + n).convert("RGB") for n in range(3)]
    path = tmp_path / "clip.apng"
    pictures[0].save(path, format="PNG", save_all=True, append_images=pictures[1:], duration=50)
    data = bytearray(path.read_bytes())
    place = data.index(b"IDAT") + 4
    data[place : place + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"^No frame of clip.apng can be decoded; the file is damaged\."):
        read_video(path)


def test_an_animated_picture_of_a_damaged_size_is_refused(tmp_path):
    path = save(tmp_path, torch.rand(3, 32, 48, 3), format="webp", fps=10)
    data = bytearray(path.read_bytes())
    place = data.index(b"VP8X") + 12  # width and height less one, three bytes each
    data[place : place + 6] = (16382).to_bytes(3, "little") * 2
    path.write_bytes(data)
    with pytest.raises(VideoError, match=f"^{path.name} is no picture that can be read. Choose another file.$"):
        read_video(path)


def late(path: Path, picture: bool, sound: bool) -> Path:
    """A clip whose last packets state a time of 11 days."""
    whole = film(path.with_name("whole.mkv"), 25, "ffv1", "bgr0", "pcm_s16le", g="1")
    with av.open(str(whole)) as source, av.open(str(path), "w") as output:
        copies = {
            s.index: output.add_stream_from_template(s, opaque=True)
            for s in (*source.streams.video, *source.streams.audio)
        }
        all_of_it = [packet for packet in source.demux() if packet.size]
        last = {packet.stream.type: packet for packet in all_of_it}
        for kind, is_late in (("video", picture), ("audio", sound)):
            if is_late:
                last[kind].pts = last[kind].dts = int(10**6 / last[kind].time_base)
        for packet in sorted(all_of_it, key=lambda packet: packet.dts * packet.time_base):
            packet.stream = copies[packet.stream.index]
            output.mux(packet)
    return path


def test_sound_takes_memory_as_far_as_it_reaches(tmp_path, monkeypatch):
    """The picture seems to last 11 days, whose sound would take 192 GB."""
    monkeypatch.setattr(memory_room, "free_memory", lambda: 10**8)
    video = read_video(late(tmp_path / "clip.mkv", picture=True, sound=False))
    assert len(video.frames) == 25 and heard(video.audio) == [0.5]
    assert 0.9 < video.audio["waveform"].shape[-1] / RATE < 1.1


def test_sound_beyond_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(memory_room, "free_memory", lambda: 10**8)
    with pytest.raises(VideoError) as error:
        read_video(late(tmp_path / "clip.mkv", picture=True, sound=True))
    assert re.fullmatch(
        r"1,0\d\d,\d{3} seconds of sound of clip.mkv take 19\d.\d GB of memory; 0.1 GB are free. The times in the file "
        "may be damaged: set count to read a part of it, or convert it with another program.",
        str(error.value),
    )


def test_frames_beyond_counting_are_refused(tmp_path):
    with pytest.raises(VideoError) as error:
        read_video(late(tmp_path / "clip.mkv", picture=True, sound=False), fps=16)
    assert re.fullmatch(
        r"The file gives 16,\d{3},\d{3} frames at 16 fps, more than 1,000,000; its times may be damaged. Set count, or "
        "make fps smaller.",
        str(error.value),
    )


# --- anything ---


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.ts", "clip.flv", "clip.mpg", "clip.webm"])
def test_damaged_copies_end_in_frames_or_a_sentence(tmp_path, name):
    """Each with bits turned, a stretch missing or one doubled; in a process of its own, which must live on."""
    codecs = {"clip.webm": ("libvpx-vp9", "yuv420p", "libopus"), "clip.mpg": ("mpeg2video", "yuv420p", "mp2")}
    codecs |= {"clip.flv": ("flv", "yuv420p", "aac"), "clip.avi": ("mpeg4", "yuv420p", "libmp3lame")}
    codec, pixels, sound = codecs.get(name, ("libx264", "yuv420p", "aac"))
    path = film(tmp_path / name, 25, codec, pixels, sound, g="5")
    data, chance = path.read_bytes(), random.Random(0)
    for n in range(20):
        broken = bytearray(data)
        if n % 3 == 0:
            for _ in range(1 + n):
                broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        else:
            begin, length = chance.randrange(len(broken)), chance.randrange(1, len(broken) // 4)
            broken[begin : begin + length] = b"" if n % 3 == 1 else broken[begin : begin + length] * 2
        (tmp_path / f"broken{n:02}{path.suffix}").write_bytes(broken)
    run = subprocess.run(
        [sys.executable, "-c", _FUZZ, str(Path(__file__).parents[2]), str(tmp_path)], capture_output=True, timeout=300
    )
    assert run.returncode == 0, (run.returncode, run.stdout[-300:], run.stderr[-800:])
    lines = run.stdout.decode().splitlines()
    assert len(lines) == 20 and not [line for line in lines if not line.startswith(("frames", "VideoError"))]


_FUZZ = """
import sys, types
package = types.ModuleType("opent2v"); package.__path__ = [sys.argv[1]]; sys.modules["opent2v"] = package
from pathlib import Path
from opent2v.media import VideoError, read_video
for path in sorted(Path(sys.argv[2]).glob("broken*")):
    try:
        video = read_video(path)
        assert not video.frames.isnan().any()
        print("frames", len(video.frames), flush=True)
    except VideoError as error:
        print("VideoError", error, flush=True)
"""
