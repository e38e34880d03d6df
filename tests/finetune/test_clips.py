"""A data set is read in every common layout; what cannot be used is refused by its name, with the reason.

Tests: finetune/clips.py, finetune/buckets.py, finetune/frames.py, finetune/prepare.py, media/measure.py
"""

from __future__ import annotations

import dataclasses
import json
import sys
from fractions import Fraction

import pytest
import torch

from opent2v import finetune
from opent2v.finetune import Settings, TrainingError, read_clips
from opent2v.tests.finetune import data
from opent2v.tests.tiny import wan


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def reasons(refused) -> dict[str, str]:
    return {clip.name: clip.reason for clip in refused}


def test_a_folder_of_clips_pictures_sounds_and_captions(tmp_path):
    touch(tmp_path, "b.mp4", "a.MOV", "deep/c.png", "b.wav", "notes.pdf")
    (tmp_path / "b.txt").write_text(" a red ball \n")
    (tmp_path / "a.txt").write_bytes("﻿红色的球".encode())
    (tmp_path / "deep" / "c.txt").write_bytes("une balle".encode("utf-16"))
    clips, refused = read_clips(tmp_path)
    assert [(clip.name, clip.caption, clip.is_picture) for clip in clips] == [
        ("a.MOV", "红色的球", False), ("b.mp4", "a red ball", False), ("deep/c.png", "une balle", True)
    ]  # fmt: skip
    assert refused == [] and clips[1].sound == tmp_path / "b.wav" and clips[0].sound is None


def test_captions_that_cannot_be_used_are_refused_by_name(tmp_path):
    touch(tmp_path, "none.mp4", "empty.mp4", "latin.mp4", "wide.mp4", "good.mp4", "good.webm")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes("une étoile".encode("latin-1"))
    (tmp_path / "wide.txt").write_bytes("a star".encode("utf-16-le"))
    (tmp_path / "good.txt").write_text("a star")
    clips, refused = read_clips(tmp_path)
    assert [clip.name for clip in clips] == ["good.mp4"]
    named = reasons(refused)
    assert "no caption: none.txt is not there" in named["none.mp4"]
    assert "no caption: empty.txt is empty" in named["empty.mp4"]
    assert "latin.txt is no UTF-8 text (byte 4 is 0xe9). Save it as UTF-8." in named["latin.mp4"]
    assert "wide.txt holds NUL characters" in named["wide.mp4"]
    assert "good.mp4 has the same stem" in named["good.webm"]
    assert [clip.caption for clip in read_clips(tmp_path, "a thing")[0]] == ["a thing", "a star", "a thing"]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_list_of_clips(tmp_path, kind):
    touch(tmp_path, "a.mp4", "b.mp4", "s.wav")
    rows = [
        {"video_path": "a.mp4", "caption": "one", "audio_path": "s.wav"},
        {"video_path": "b.mp4", "caption": ""},
        {"video_path": "gone.mp4", "caption": "three"},
        {"video_path": "a.mp4", "caption": "four", "control_path": "b.mp4"},
    ]
    path = tmp_path / f"list.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        names = ("video_path", "caption", "audio_path", "control_path")
        path.write_text("\n".join([",".join(names), *(",".join(row.get(n, "") for n in names) for row in rows)]))
    clips, refused = read_clips(path)
    assert [(clip.path, clip.caption, clip.sound) for clip in clips] == [
        (tmp_path / "a.mp4", "one", tmp_path / "s.wav")
    ]
    assert [reason.split(".")[0] for reason in reasons(refused).values()] == [
        "b", "gone", "control_path is set, and no family here is trained with a control video"
    ]  # fmt: skip
    first = 1 if kind == "jsonl" else 2
    assert list(reasons(refused)) == [f"list.{kind}, line {first + n}" for n in (1, 2, 3)]


def test_a_folder_with_metadata_is_read_by_it(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "metadata.csv").write_text("file_name,text\nb.mp4,a ball\n")
    assert [(clip.name, clip.caption) for clip in read_clips(tmp_path)[0]] == [("b.mp4", "a ball")]


def test_lists_that_cannot_be_read(tmp_path):
    with pytest.raises(TrainingError, match="is not there"):
        read_clips(tmp_path / "gone")
    (tmp_path / "a.yaml").write_text("")
    with pytest.raises(TrainingError, match="is no list of clips"):
        read_clips(tmp_path / "a.yaml")
    (tmp_path / "a.jsonl").write_text('{"video_path": ')
    with pytest.raises(TrainingError, match="line 1 is no JSON"):
        read_clips(tmp_path / "a.jsonl")
    (tmp_path / "a.csv").write_text("path,caption\n")
    with pytest.raises(TrainingError, match="no column video_path"):
        read_clips(tmp_path / "a.csv")


def test_a_list_that_leaves_the_folder(tmp_path):
    touch(tmp_path, "secret.mp4", "in/a.mp4")
    listed = tmp_path / "in" / "list.jsonl"
    listed.write_text(json.dumps({"video_path": "../secret.mp4", "caption": "x"}))
    assert len(read_clips(listed)[0]) == 1
    _, refused = read_clips(listed, within=tmp_path / "in")
    assert "outside of in" in refused[0].reason


def test_ten_thousand_files(tmp_path):
    for n in range(10_000):
        (tmp_path / f"{n:05}.mp4").touch()
        if n % 10:
            (tmp_path / f"{n:05}.txt").write_text(f"clip {n}")
    clips, refused = read_clips(tmp_path)
    assert len(clips) == 9000 and len(refused) == 1000
    assert clips[0].name == "00001.mp4" and refused[-1].name == "09990.mp4"


SETTINGS = Settings(validation=0.0)


def encoders():
    model, clip, vae = wan.shared()
    return finetune.Encoders(model.part.variant, clip, vae)


def prepare(folder, **changes):
    settings = dataclasses.replace(SETTINGS, **changes)
    return finetune.prepare(encoders(), folder / "clips", folder / "cache", settings)


def corpus(folder):
    """Clips as people have them."""
    clips = folder / "clips"
    data.write_clip(clips, "good", data.frames_of(0, 9), caption="a")
    data.write_clip(clips, "tall", data.frames_of(1, 20, 32, 64), caption="b")
    data.write_clip(clips, "fast", data.frames_of(2, 36), fps=60, caption="c")
    data.write_clip(clips, "short", data.frames_of(3, 2), caption="d")
    data.write_clip(clips, "slow", data.frames_of(4, 3), fps=4, caption="e")
    (clips / "broken.mp4").write_bytes((clips / "tall.mp4").read_bytes()[:700])
    (clips / "broken.txt").write_text("f")
    (clips / "text.mp4").write_text("this is no video")
    (clips / "text.txt").write_text("g")
    from PIL import Image

    Image.new("RGB", (40, 30), "red").save(clips / "still.png")
    (clips / "still.txt").write_text("h")
    return clips


def test_every_clip_is_right_or_refused_by_name(tmp_path):
    corpus(tmp_path)
    ready = prepare(tmp_path)
    assert {item.clip.name: item.bucket.title for item in ready.items} == {
        "fast.mp4": "32 x 32, 9 frames", "good.mp4": "32 x 32, 9 frames", "slow.mp4": "32 x 32, 9 frames",
        "still.png": "32 x 32, picture", "tall.mp4": "16 x 48, 9 frames",
    }  # fmt: skip
    named = reasons(ready.refused)
    assert set(named) == {"broken.mp4", "short.mp4", "text.mp4"}
    assert "2 frames at 16 fps" in named["short.mp4"] and "learns from 5 or more (4n + 1)" in named["short.mp4"]
    lines = finetune.data_lines(ready)
    assert lines[0] == "5 clips for Wan tiny, 3 refused" and "  3 x 32 x 32, 9 frames" in lines
    assert any(line.startswith("  short.mp4: It has 2 frames") for line in lines)
    for item in ready.items:
        shape = ready.variant.geometry.latent_shape(item.bucket.width, item.bucket.height, item.bucket.frames)
        assert tuple(ready.sample(item, False).streams[0].shape) == (1, *shape)


def test_a_turned_phone_clip_lies_in_the_bucket_of_what_is_seen(tmp_path):
    """Recorded as 64 x 32 with the mark of a quarter turn."""
    import av

    clips = tmp_path / "clips"
    path = data.write_clip(clips, "plain", data.frames_of(1, 9, 64, 32), caption="a")
    with av.open(path) as source, av.open(clips / "turned.mp4", "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    # The matrix of the track's header: a quarter turn in place of none (ISO/IEC 14496-12, 8.3.2).
    content = bytearray((clips / "turned.mp4").read_bytes())
    place = content.rindex(b"tkhd") + 4 + 4 + 20 + 16
    one, minus = (1 << 16).to_bytes(4, "big"), (2**32 - (1 << 16)).to_bytes(4, "big")
    nothing = bytes(4)
    content[place : place + 20] = nothing + one + nothing + minus + nothing
    (clips / "turned.mp4").write_bytes(content)
    (clips / "turned.txt").write_text("b")
    buckets = {item.clip.name: (item.bucket.width, item.bucket.height) for item in prepare(tmp_path).items}
    assert buckets == {"plain.mp4": (48, 16), "turned.mp4": (16, 48)}


def test_ten_bits_and_variable_rates(tmp_path):
    import av

    clips = tmp_path / "clips"
    clips.mkdir()
    frames = (data.frames_of(0, 12) * 255).byte().numpy()
    for name, codec, pixels in (("ten", "ffv1", "yuv420p10le"), ("variable", "libx264", "yuv420p")):
        with av.open(clips / f"{name}.mkv", "w") as target:
            stream = target.add_stream(codec, rate=16)
            stream.width, stream.height, stream.pix_fmt = 32, 32, pixels
            for n, picture in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
                frame.pts = n if name == "ten" else n + n * n // 8  # in sixteenths of a second, ever slower
                frame.time_base = Fraction(1, 16)
                target.mux(stream.encode(frame))
            target.mux(stream.encode(None))
        (clips / f"{name}.txt").write_text("a ball")
    ready = prepare(tmp_path)
    assert {item.clip.name: item.bucket.frames for item in ready.items} == {"ten.mkv": 9, "variable.mkv": 9}
    read = {item.clip.name: finetune.frames.read(item.clip, item.bucket, 16)[0] for item in ready.items}
    assert (read["ten.mkv"][:9] - torch.from_numpy(frames[:9]).float() / 255).abs().mean() < 0.03
    # At an even rate the ninth moment of the clip that slows down still shows its sixth picture.
    shown = torch.from_numpy(frames).float() / 255
    nearest = [(read["variable.mkv"][8] - picture).abs().mean().item() for picture in shown]
    assert nearest.index(min(nearest)) == max(n for n in range(12) if n + n * n // 8 <= 8)


def test_a_second_pass_reads_nothing_twice(tmp_path, monkeypatch):
    data.folder_of(tmp_path / "clips", 2)
    first = prepare(tmp_path)
    monkeypatch.setattr(sys.modules["opent2v.finetune.encode"], "read", _never)
    again = prepare(tmp_path)
    assert [item.latents for item in again.items] == [item.latents for item in first.items]
    changed = tmp_path / "clips" / "clip0.txt"
    changed.write_text("a green circle")
    assert prepare(tmp_path).items[0].prompt != first.items[0].prompt


def _never(*_):
    raise AssertionError("a clip was read again")


def test_the_trigger_stands_in_front_of_captions_that_lack_it(tmp_path):
    data.write_clip(tmp_path / "clips", "a", data.frames_of(0, 9), caption="sks ball rolls")
    data.write_clip(tmp_path / "clips", "b", data.frames_of(1, 9), caption="a ball rolls")
    ready = prepare(tmp_path, trigger="sks ball")
    _, clip, _ = wan.shared()
    from opent2v.host import host

    for item, caption in zip(ready.items, ("sks ball rolls", "sks ball, a ball rolls"), strict=True):
        assert torch.equal(ready.sample(item, False).entry["cross_attn"], host.embed(clip, caption)[0][0])


def test_a_data_set_of_which_nothing_is_left(tmp_path):
    data.write_clip(tmp_path / "clips", "a", data.frames_of(0, 2), caption="a")
    with pytest.raises(TrainingError, match=r"Every clip of .*clips is refused. a.mp4: It has 2 frames"):
        prepare(tmp_path)
    (tmp_path / "clips" / "a.txt").unlink()
    with pytest.raises(TrainingError, match=r"No clip of .* can be used. a.mp4: It has no caption"):
        prepare(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rank": 0}, "rank is 0; expected a whole number from 1"),
        ({"rate": 2.0}, "rate is 2.0; expected 0 "),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"layers": "all"}, "layers is 'all'; expected attention and feed-forward, attention or all linear"),
        ({"pictures": "always"}, "text-to-video model and cannot start from a picture"),
    ],
)
def test_settings_that_cannot_be(tmp_path, changes, said):
    data.folder_of(tmp_path / "clips", 1)
    with pytest.raises(TrainingError, match=said):
        prepare(tmp_path, **changes)
