"""Loading a video: what comes out, and what is refused."""

from __future__ import annotations

import os

import pytest
import torch

from opent2v.host import embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.tests.media.clips import RED, boxes, save, solid, sound
from opent2v.tests.nodes.calls import call, remarks

NODE = NODE_CLASS_MAPPINGS["OpenT2VLoadVideo"]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "input"
    folder.mkdir()
    embedded.configure(output=tmp_path / "output", input=folder)
    return folder


def test_frames_sound_and_numbers(folder):
    save(folder, solid(RED, 24), audio=sound(4, 16000), fps=12)
    (images, audio, fps, frames, width, height), ui = call("OpenT2VLoadVideo", file="clip_00001.mp4")
    assert images.shape == (24, 48, 64, 3) and (fps, frames, width, height) == (12.0, 24, 64, 48)
    assert audio["waveform"].shape == (1, 2, 32000) and audio["sample_rate"] == 16000
    assert ui == {"opent2v_remarks": [], "opent2v_report": []}


def test_a_silent_video_gives_no_audio_as_core_does(folder):
    save(folder, solid(RED, 6))
    given = {"start": 1, "every": 2, "width": 32, "height": 32, "fit": "fit"}
    (_, audio, fps, frames, width, height), _ = call("OpenT2VLoadVideo", file="clip_00001.mp4", **given)
    assert audio is None and (fps, frames, width, height) == (8.0, 3, 32, 24)


def test_loaded_frames_can_be_saved_again(folder):
    save(folder, torch.rand(8, 48, 64, 3), audio=sound(0.5), quality=100)
    (images, audio, fps, *_), _ = call("OpenT2VLoadVideo", file="clip_00001.mp4")
    (file, _), _ = call("OpenT2VSaveVideo", images=images, audio=audio, fps=fps)
    assert os.path.getsize(file) > 1000


def test_only_videos_of_the_input_folder_are_offered(folder):
    for name in ("b.mp4", "a.webm", "c.txt", "d.png"):
        (folder / name).write_text("")
    choices, options = NODE.INPUT_TYPES()["required"]["file"]
    assert choices == ["a.webm", "b.mp4"] and options["video_upload"] is True
    embedded.configure(input=folder / "none")
    assert NODE.INPUT_TYPES()["required"]["file"][0] == []


def test_a_clip_of_the_pages_list_of_generated_files(folder):
    """The page's list offers saved files beside those of the input folder, as "name [output]"."""
    output = folder.parent / "output"
    output.mkdir()
    saved = save(output, solid(RED, 5))
    name = f"{saved.name} [output]"
    assert NODE.VALIDATE_INPUTS(file=name) is True
    (images, *_), _ = call("OpenT2VLoadVideo", file=name)
    assert len(images) == 5
    before = NODE.IS_CHANGED(file=name)
    saved.write_bytes(save(folder, solid(RED, 9)).read_bytes())
    assert NODE.IS_CHANGED(file=name) != before
    assert "is not in the output folder" in NODE.VALIDATE_INPUTS(file="none.mp4 [output]")


@pytest.mark.parametrize("file", ["../secret.mp4", "/etc/passwd", "link.mp4", "none.mp4"])
def test_files_elsewhere_are_refused_before_and_in_the_run(folder, file):
    save(folder.parent, solid(RED), stem="secret")
    (folder / "link.mp4").symlink_to(folder.parent / "secret_00001.mp4")
    verdict = NODE.VALIDATE_INPUTS(file=file)
    assert "the input folder" in verdict
    with pytest.raises(ValueError, match="the input folder"):
        call("OpenT2VLoadVideo", file=file)


def test_a_file_over_a_link_is_not_checked_yet(folder):
    assert NODE.VALIDATE_INPUTS() is True
    assert NODE.IS_CHANGED() == ""


def test_a_changed_file_is_read_again(folder):
    path = save(folder, solid(RED))
    before = NODE.IS_CHANGED(file=path.name, start=0)
    assert before == NODE.IS_CHANGED(file=path.name, start=5)
    path.write_bytes(save(folder, solid(RED, 9), stem="other").read_bytes())
    assert NODE.IS_CHANGED(file=path.name) != before


def test_progress_and_interrupt(folder):
    save(folder, solid(RED, 10))
    seen = []
    embedded.configure(on_progress=lambda *what: seen.append(what), input=folder)
    call("OpenT2VLoadVideo", file="clip_00001.mp4", count=2, unique_id="4")
    assert seen == [("4", 1, 2), ("4", 2, 2)]
    embedded.interrupt()
    with pytest.raises(embedded.Interrupted):
        call("OpenT2VLoadVideo", file="clip_00001.mp4")


def test_remarks_are_shown(folder):
    path = save(folder, torch.rand(60, 48, 64, 3), quality=90)
    data = bytearray(path.read_bytes())
    _, start, end = next(box for box in boxes(data) if box[0] == "mdat")
    data[(start + end) // 2 : end] = bytes(end - (start + end) // 2)
    path.write_bytes(data)
    _, ui = call("OpenT2VLoadVideo", file=path.name)
    assert "of 60 frames could be read; the others are left out." in remarks(ui)
