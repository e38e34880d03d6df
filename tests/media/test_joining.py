"""Files joined to one stream: joints where they belong, sound at equal power, one clip in memory, bad clips named."""

from __future__ import annotations

import struct
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from opent2v.media import SaveSettings, VideoWriter
from opent2v.media.growing_sound import GrowingSound
from opent2v.media.joining import Clips, JoinError
from opent2v.media.stream import save_stream

RATE = 8000


def write(folder, name, level, frames=12, size=(32, 16), fps=8, sound=0.5, rate=RATE):
    """A clip of one grey level, lossless, with a constant sound."""
    width, height = size
    audio = None
    if sound is not None:
        audio = {"waveform": torch.full((1, 1, int(frames / fps * rate)), sound), "sample_rate": rate}
    settings = SaveSettings("mkv ffv1", provenance=False)
    with VideoWriter(folder, name, settings, fps=fps, width=width, height=height, audio=audio) as writer:
        writer.write(torch.full((frames, height, width, 3), level))
    return writer.path


def joined(folder, paths, *overlaps):
    clips = Clips.checked(paths, overlaps)
    sound = None if clips.sound is None else GrowingSound(*clips.sound)

    def open_writer(width, height):
        settings = SaveSettings("mkv ffv1", provenance=False)
        return VideoWriter(folder, "joined", settings, fps=clips.fps, width=width, height=height, audio=sound)

    return clips, save_stream(clips.pieces(sound, []), open_writer).path


def read(path):
    """(mean level of each frame, samples) by PyAV alone."""
    with av.open(str(path)) as container:
        levels = [frame.to_ndarray(format="rgb24").mean() / 255 for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return np.array(levels), None
        samples = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    wave = np.concatenate(samples)
    return np.array(levels), wave / 32768 if wave.dtype == np.int16 else wave.astype(np.float32)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return folder, [write(folder, f"clip{n}", level) for n, level in enumerate((0.2, 0.8, 0.4))]


def test_cuts_stand_where_the_clips_meet(three):
    folder, paths = three
    clips, path = joined(folder, paths, 0)
    levels, wave = read(path)
    assert (clips.frames, clips.joints) == (36, [12, 24])
    assert levels == pytest.approx([0.2] * 12 + [0.8] * 12 + [0.4] * 12, abs=0.01)
    assert len(wave) == int(36 / 8 * RATE) and wave == pytest.approx(0.5, abs=0.01)


def test_overlaps_fade_picture_and_sound(three):
    folder, paths = three
    clips, path = joined(folder, paths, 3)
    levels, wave = read(path)
    assert (clips.frames, clips.joints, len(levels)) == (30, [9, 18], 30)
    # 0.2 to 0.8 over three frames: a quarter, a half and three quarters of the way
    assert levels[8:13] == pytest.approx([0.2, 0.35, 0.5, 0.65, 0.8], abs=0.01)
    assert len(wave) == int(30 / 8 * RATE)
    middle = wave[int(10.5 / 8 * RATE)]  # sine and cosine of 45 degrees, of two sounds of 0.5
    assert middle == pytest.approx(0.5 * 2**0.5, abs=0.01)
    assert wave[int(5 / 8 * RATE)] == pytest.approx(0.5, abs=0.01)


def test_each_joint_has_an_overlap_of_its_own(three):
    folder, paths = three
    clips, path = joined(folder, paths, 0, 0, 4)  # the first clip fades in from nothing
    levels, wave = read(path)
    assert (clips.frames, clips.joints, len(wave)) == (32, [12, 20], int(32 / 8 * RATE))
    assert levels == pytest.approx([0.2] * 12 + [0.8] * 8 + [0.72, 0.64, 0.56, 0.48] + [0.4] * 8, abs=0.01)


@pytest.mark.parametrize("odd", ["pixels", "turned"])
def test_clips_that_are_shown_in_another_size_than_they_are_coded(tmp_path, odd):
    paths = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.mp4"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("mpeg4", rate=8)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            if odd == "pixels":
                stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
            for n in range(4):
                frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 128, np.uint8), format="rgb24")
                frame.pts = n
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        if odd == "turned":  # a quarter, in the matrix of the track's header
            data = path.read_bytes()
            plain, quarter = (struct.pack(">4i", *values) for values in ((65536, 0, 0, 0), (0, 65536, 0, -65536)))
            at = data.index(plain, data.index(b"tkhd"))
            path.write_bytes(data[:at] + quarter + struct.pack(">i", 0) + data[at + 20 :])
        paths.append(path)
    size = (64, 32) if odd == "pixels" else (32, 48)
    clips, path = joined(tmp_path, paths, 1)
    assert (clips.width, clips.height, clips.frames) == (*size, 7)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 7 and (frames[0].width, frames[0].height) == size


def test_a_fade_is_longer_than_the_pieces_that_are_read(tmp_path):
    paths = [write(tmp_path, f"long{n}", level, frames=60, sound=None) for n, level in enumerate((0.1, 0.9))]
    levels, _ = read(joined(tmp_path, paths, 39)[1])
    fade = [0.1 + 0.8 * n / 40 for n in range(1, 40)]
    assert levels == pytest.approx([0.1] * 21 + fade + [0.9] * 21, abs=0.01)


def test_overlaps_that_are_not_one_for_each_clip(three):
    with pytest.raises(JoinError, match=r"There are 2 overlaps for 3 clips\. Connect one for all joints, or one for"):
        Clips.checked(three[1], [1, 2])


def test_a_clip_that_changed_meanwhile_is_named(tmp_path, three):
    paths = [write(tmp_path, name, 0.2) for name in ("a", "b")]
    clips = Clips.checked(paths, [0])
    paths[1].unlink()
    write(tmp_path, "other", 0.2, frames=7).rename(paths[1])
    with pytest.raises(JoinError, match=r"Clip 2 \(b.*\) gives 7 frames of 32 x 16 in place of 12 of 32 x 16"):
        list(clips.pieces(None, []))


def test_what_is_wrong_with_a_clip_is_told_by_its_number(tmp_path, three):
    with VideoWriter(tmp_path, "damaged", SaveSettings("mp4 h264"), fps=8, width=32, height=16) as writer:
        writer.write(torch.rand(12, 16, 32, 3))
    path = writer.path
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][5]
    data = bytearray(path.read_bytes())
    data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    remarks = []
    pieces = Clips.checked([three[1][0], path], [0]).pieces(None, remarks)
    assert sum(len(piece) for piece in pieces) == 24
    assert [remark[:28] for remark in remarks] == ["Clip 2 (damaged_00001.mp4): "]


def test_a_silent_clip_is_silence(tmp_path):
    paths = [write(tmp_path, "a", 0.2), write(tmp_path, "b", 0.8, sound=None)]
    _, path = joined(tmp_path, paths, 0)
    _, wave = read(path)
    assert wave[: 12 * RATE // 8 - 1] == pytest.approx(0.5, abs=0.01) and not wave[12 * RATE // 8 :].any()


def test_clips_without_sound_make_a_silent_file(tmp_path):
    paths = [write(tmp_path, name, 0.2, sound=None) for name in ("a", "b")]
    assert read(joined(tmp_path, paths, 2)[1])[1] is None


def test_what_was_written_of_a_sound_is_let_go():
    sound = GrowingSound(100, 1)
    track = sound.track((48000,), False)
    for n in range(50):
        audio = {"waveform": torch.full((1, 1, 200), n / 50), "sample_rate": 100}
        sound.add(audio, Fraction(n * 3, 2), Fraction(2), Fraction(1, 2) if n < 49 else Fraction(0))
        frames = list(track.frames(Fraction(n * 3 + 3, 2)))
        assert sum(frame.samples for frame in frames) == 150
        assert track._waveform.shape[1] <= 201
    assert track.samples == 50 * 150 + 50


def test_a_sound_that_is_read_while_it_grows_does_not_slip(monkeypatch):
    sound, ramp = GrowingSound(100, 1), torch.arange(400) / 400
    track, heard, cat = sound.track((48000,), False), [], torch.cat
    sound.add({"waveform": ramp[None, None, :200], "sample_rate": 100}, Fraction(0), Fraction(2), Fraction(0))
    has_piece, joins, piece = threading.Event(), threading.Event(), track._piece

    def reader_has_its_piece(start, end):
        samples = piece(start, end)
        has_piece.set()
        joins.wait(5)
        return samples

    def reader_goes_on_meanwhile(tensors, dim):
        joins.set()
        reader.join(0.3)
        return cat(tensors, dim)

    def read(until):
        heard.extend(frame.to_ndarray()[0] for frame in track.frames(Fraction(until)))

    reader = threading.Thread(target=read, args=(2,))
    with monkeypatch.context() as patched:
        patched.setattr(track, "_piece", reader_has_its_piece)
        patched.setattr("opent2v.media.growing_sound.torch.cat", reader_goes_on_meanwhile)
        reader.start()
        assert has_piece.wait(5)
        track.extend(ramp[None, 200:])
        reader.join()
    read(4)
    assert np.concatenate(heard) == pytest.approx(ramp.numpy())


@pytest.mark.parametrize(
    ("changed", "overlap", "message"),
    [
        ({"size": (32, 32)}, 0, r"Clip 2 \(bad.*\) has height 32; clip 1 has 16. All clips need the same size"),
        ({"fps": 16}, 0, r"Clip 2 \(bad.*\) has fps 16; clip 1 has 8"),
        ({"frames": 3}, 2, r"Clip 2 \(bad.*\) has 3 frames, and its overlaps take 4. Choose a smaller overlap"),
        ({"rate": 16000}, 0, "The clips' sounds have 8000 and 16000 samples a second; all need the same"),
    ],
)
def test_bad_clips_are_named_before_anything_is_written(tmp_path, three, changed, overlap, message):
    _, paths = three
    bad = write(tmp_path, "bad", 0.5, **changed)
    with pytest.raises(JoinError, match=message):
        Clips.checked([paths[0], bad, paths[2]], [overlap])


def test_one_clip_is_nothing_to_join(three):
    with pytest.raises(JoinError, match="joining takes at least two"):
        Clips.checked(three[1][:1], [0])
