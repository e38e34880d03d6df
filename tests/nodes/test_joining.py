"""Join Video Files: which files its lines name, and what is refused by line."""

from __future__ import annotations

import pytest
import torch

from opent2v.host import embedded
from opent2v.media import SaveSettings, VideoWriter, read_video
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.tests.nodes.calls import call, remarks


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
