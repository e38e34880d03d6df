"""Files joined without encoding: every frame as it was, sound in one piece, and what does not fit is said."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from opent2v.media import SaveSettings, VideoWriter, read_video
from opent2v.media.copying import copy_joined, why_encoded
from opent2v.media.formats import available
from opent2v.media.joining import Clips, FileClip

RATE = 8000


def write(folder, name, seed, frames=13, key="mp4 h264", sound=0.5, size=(48, 32), **settings):
    """A clip of noise, whose frames differ, with a constant sound."""
    audio = None
    if sound is not None:
        audio = {"waveform": torch.full((1, 1, int(frames / 8 * RATE)), sound), "sample_rate": RATE}
    with VideoWriter(
        folder, name, SaveSettings(key, **settings), fps=8, width=size[0], height=size[1], audio=audio
    ) as writer:
        writer.write(torch.rand(frames, size[1], size[0], 3, generator=torch.Generator().manual_seed(seed)))
    return writer.path


def copied(folder, paths, key="mp4 h264", **settings):
    clips, done = Clips.checked(paths, [0]), []
    saving = SaveSettings(key, **settings)
    assert why_encoded(clips, saving) == ""
    path, remarks = copy_joined(clips, saving, (folder, "joined"), {"prompt": '{"a": 1}'}, done.append)
    assert remarks == [] and done == list(range(1, clips.frames + 1))
    return path


@pytest.mark.parametrize(
    "key", ["mp4 h264", "mp4 h265", "mp4 av1", "mkv ffv1", "webm vp9", "webm av1", "mov prores 422 hq"]
)
def test_every_frame_is_the_one_of_its_clip(tmp_path, key):
    if key not in available():
        pytest.skip(f"no encoder of {key} is here")
    paths = [write(tmp_path, f"clip{n}", n, frames=9 + n, key=key, size=(64, 64)) for n in range(4)]
    joined = read_video(copied(tmp_path, paths, key))
    assert torch.equal(joined.frames, torch.cat([read_video(path).frames for path in paths]))
    assert joined.fps == 8 and joined.remarks == []


@pytest.mark.parametrize(("key", "tag"), [("mp4 h264", "avc1"), ("mp4 h265", "hvc1")])
def test_the_codecs_tag_stays(tmp_path, key, tag):
    if key not in available():
        pytest.skip(f"no encoder of {key} is here")
    paths = [write(tmp_path, f"clip{n}", n, key=key, size=(64, 64)) for n in range(2)]
    for path in (paths[0], copied(tmp_path, paths, key)):
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.codec_tag == tag


def test_times_rise_evenly_and_the_sound_has_no_gap(tmp_path):
    paths = [write(tmp_path, f"clip{n}", n) for n in range(5)]
    path = copied(tmp_path, paths)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [frame.pts * frame.time_base for frame in container.decode(stream)]
        assert stream.frames == 65 and container.metadata["prompt"] == '{"a": 1}'
    assert times == [n / stream.average_rate for n in range(65)] and stream.average_rate == 8
    with av.open(str(path)) as container:
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert abs(len(wave) - 65 / 8 * RATE) <= 1024
    assert wave[2000 : int(65 / 8 * RATE) - 2000] == pytest.approx(0.5, abs=0.1)


def test_a_silent_clip_among_them(tmp_path):
    paths = [write(tmp_path, "a", 0), write(tmp_path, "b", 1, sound=None), write(tmp_path, "c", 2)]
    wave = read_video(copied(tmp_path, paths)).audio["waveform"][0, 0]
    second = int(13 / 8 * RATE)
    assert wave[second + 2000 : 2 * second - 2000].abs().max() < 0.05
    assert wave[2 * second + 2000 : 3 * second - 2000].tolist() == pytest.approx([0.5] * (second - 4000), abs=0.1)


@pytest.mark.parametrize(
    ("other", "overlap", "settings", "reason"),
    [
        ({}, 2, {}, "clips fade into each other"),
        ({"key": "mp4 h265", "size": (64, 64)}, 0, {}, "clip 2 is not mp4 h264 with 8 bits"),
        ({"key": "mkv ffv1"}, 0, {}, "clip 2 is not mp4 h264 with 8 bits"),
        ({"preset": "ultrafast"}, 0, {}, "clip 2 was encoded with other settings than clip 1"),
        ({}, 0, {"bit_depth": 10}, "clip 1 is not mp4 h264 with 10 bits"),
    ],
)
def test_what_has_to_be_encoded_is_said(tmp_path, other, overlap, settings, reason):
    size = other.get("size", (48, 32))
    paths = [write(tmp_path, "a", 0, size=size), write(tmp_path, "b", 1, **other)]
    assert why_encoded(Clips.checked(paths, [overlap]), SaveSettings("mp4 h264", **settings)) == reason


def test_frames_at_uneven_times_are_encoded(tmp_path):
    paths = [write(tmp_path, "a", 0, sound=None)]
    uneven = tmp_path / "uneven.mp4"
    with av.open(str(paths[0])) as source, av.open(str(uneven), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts += 300 * (packet.pts * packet.time_base > 1)
                packet.stream = stream
                output.mux(packet)
    clips = Clips.checked([paths[0], paths[0]], [0])
    uneven_clips = Clips((FileClip(uneven),) * 2, (13, 13), clips.fps, 48, 32, (0,), None)
    assert why_encoded(uneven_clips, SaveSettings("mp4 h264")) == (
        "clip 1 is turned, or its frames do not follow each other at one rate"
    )


def test_nothing_stays_of_a_join_that_is_stopped(tmp_path):
    clips = Clips.checked([write(tmp_path, "a", 0), write(tmp_path, "b", 1)], [0])
    before = {*tmp_path.iterdir()}

    def stop(frames):
        if frames == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_joined(clips, SaveSettings("mp4 h264"), (tmp_path, "joined"), {}, stop)
    assert {*tmp_path.iterdir()} == before
