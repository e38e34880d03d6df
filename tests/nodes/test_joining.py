"""Join Video Files: which files its lines name, and what is refused by line."""

from __future__ import annotations

import av
import pytest
import torch

from opent2v.host import embedded
from opent2v.media import SaveSettings, VideoWriter, read_video
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import wan as tiny


@pytest.fixture
def folders(tmp_path):
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
    embedded.configure(input=tmp_path / "input", output=tmp_path / "output")
    for level in (0.2, 0.8, 0.5):
        with VideoWriter(tmp_path / "output", "shot", SaveSettings("mp4 h264"), fps=8, width=32, height=16) as writer:
            writer.write(torch.full((6, 16, 32, 3), level))
    yield tmp_path
    embedded.configure()


def test_files_of_a_pattern_are_joined_in_order(folders):
    (_, file, frames), ui = call("OpenT2VJoinFiles", files="shot_*.mp4 [output]", overlap=2, filename_prefix="all")
    assert frames == 14 and "3 clips, 14 frames at 8 fps" in remarks(ui) and "Joints at frames 4, 8." in remarks(ui)
    video = read_video(type(folders)(file))
    levels = video.frames.mean(dim=(1, 2, 3))
    assert len(levels) == 14
    assert levels[[0, 7, 13]].tolist() == pytest.approx([0.2, 0.8, 0.5], abs=0.03)


def test_whole_paths_of_saved_files_and_comments_may_stand_in_the_lines(folders):
    lines = f"# the best takes\n{folders / 'output' / 'shot_00002.mp4'}\n\nshot_00001.mp4 [output]"
    (_, _, frames), _ = call("OpenT2VJoinFiles", files=lines, filename_prefix="two")
    assert frames == 12


def test_a_clip_that_was_made_anew_is_joined_anew(folders):
    node = NODE_CLASS_MAPPINGS["OpenT2VJoinFiles"]
    before = node.IS_CHANGED(files="shot_*.mp4 [output]")
    assert before == node.IS_CHANGED(files="shot_*.mp4 [output]")
    path = folders / "output" / "shot_00002.mp4"
    path.write_bytes(path.read_bytes() + b"\0")
    assert node.IS_CHANGED(files="shot_*.mp4 [output]") != before


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("shot_00001.mp4 [output]\nnowhere.mp4", "Line 2 of files: file .*nowhere.mp4.* is not in the input folder"),
        ("none_*.mp4", "Line 1 of files: No file in the input folder matches 'none_"),
        ("../*.mp4", "leads out of the input folder. Name a file inside it"),
        ("", "joining takes at least two"),
    ],
)
def test_bad_lines_are_named(folders, files, message):
    with pytest.raises(ValueError, match=message):
        call("OpenT2VJoinFiles", files=files, filename_prefix="x")
    assert not list((folders / "output").glob("x*"))


def levels(file):
    """(mean level of each frame, samples of sound) by PyAV alone."""
    with av.open(file) as container:
        light = [frame.to_ndarray(format="rgb24").mean() / 255 for frame in container.decode(video=0)]
    with av.open(file) as container:
        sound = [frame.to_ndarray() for frame in container.decode(audio=0)] if container.streams.audio else []
    return light, sum(part.shape[-1] for part in sound)


def frames(level, count=9):
    return torch.full((count, 16, 32, 3), level)


def test_clips_of_frames_are_joined_with_their_sounds(folders):
    sounds = [{"waveform": torch.full((1, 1, 9000), 0.1 * n), "sample_rate": 8000} for n in range(3)]
    clips = [frames(0.2), frames(0.8), frames(0.5)]
    inputs = {"files": "", "images": clips, "audio": sounds, "fps": [8.0], "format": ["mkv ffv1"]}
    (_, file, count), ui = call("OpenT2VJoinFiles", overlap=[0, 3, 1], filename_prefix="all", **inputs)
    light, samples = levels(file)
    assert count == len(light) == 23 and "Joints at frames 6, 14." in remarks(ui)
    assert light[5:10] == pytest.approx([0.2, 0.35, 0.5, 0.65, 0.8], abs=0.01)
    assert light[13:16] == pytest.approx([0.8, 0.65, 0.5], abs=0.01) and samples == int(23 / 8 * 8000)


def test_latents_are_decoded_in_turn_and_equal_their_decoded_frames(folders):
    _, _, vae = tiny.shared()
    latents = [{"samples": torch.randn(1, 16, 3, 4, 4, generator=torch.Generator().manual_seed(n))} for n in range(3)]
    lossless = {"files": "", "overlap": 2, "format": ["mkv ffv1"]}
    (_, file, count), ui = call("OpenT2VJoinFiles", latents=latents, vae=[vae], filename_prefix="latents", **lossless)
    decoded = [call("OpenT2VDecode", vae=vae, latent=latent)[0][0] for latent in latents]
    (_, other, _), _ = call("OpenT2VJoinFiles", images=decoded, fps=[16.0], filename_prefix="frames", **lossless)
    assert count == 23 and "3 clips, 23 frames at 16 fps" in remarks(ui), "the rate is that of the VAE's model"
    assert levels(file)[0] == pytest.approx(levels(other)[0], abs=1 / 255)


def test_a_latent_is_decoded_when_its_turn_comes(folders, monkeypatch):
    from opent2v.nodes import clips

    _, _, vae = tiny.shared()
    began, decode = [], clips.decoded_stream

    def stream(vae, latent, report):
        began.append(latent["n"])
        return decode(vae, latent, report)

    monkeypatch.setattr(clips, "decoded_stream", stream)
    latents = [{"samples": torch.zeros(1, 16, 3, 4, 4), "n": n} for n in range(3)]
    pieces = clips.latent_clips(latents, vae, None, 0.0)
    assert began == []
    assert next(pieces[1].opened().pieces([])).shape[1:] == (32, 32, 3)
    assert began == [1]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"files": "shot_*.mp4 [output]", "images": [frames(0.1)]}, "files and images are all connected"),
        ({"latents": [{"samples": torch.zeros(1, 16, 1, 4, 4)}]}, "nothing decodes them. Connect the model's VAE"),
        (
            {"images": [frames(0.1), frames(0.2)]},
            "images are connected, and their frames per second are not known here",
        ),
        ({"images": [frames(0.1), frames(0.2)], "audio": [{}], "fps": [8.0]}, "images has 2 clips and audio 1 sounds"),
        ({"audio": [{}]}, "audio belongs to images"),
        (
            {"images": [frames(0.1), frames(0.2)[:, :8]], "fps": [8.0]},
            r"Clip 2 \(images 2\) has height 8; clip 1 has 16\. All clips need the same size",
        ),
        (
            {"images": [frames(0.1), frames(0.2, 2)], "fps": [8.0], "overlap": [3]},
            "has 2 frames, and its overlaps take 3",
        ),
    ],
)
def test_clips_that_cannot_be_joined_are_refused(folders, inputs, message):
    with pytest.raises(ValueError, match=message):
        call("OpenT2VJoinFiles", **{"files": "", "filename_prefix": "x", **inputs})
    assert not list((folders / "output").glob("x*"))
