"""The command that runs a workflow, in this process."""

from __future__ import annotations

import json
import sys

import av
import pytest

from opent2v.headless.inside import workflow_inside
from opent2v.scripts.pack import ROOT


def start(monkeypatch, capsys, *options):
    """(exit code, what was written to stderr)."""
    import console
    import run_workflow

    monkeypatch.setattr(sys, "argv", ["run_workflow.py", *map(str, options)])
    return console.guard(run_workflow.main), capsys.readouterr().err


def test_a_saved_file_runs_again(tmp_path, monkeypatch, capsys):
    flow = (ROOT / "workflows" / "quickstart.json").read_text(encoding="utf-8")
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        container.metadata["workflow"] = flow
        stream = container.add_stream("ffv1", rate=8)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        container.mux([*stream.encode(av.VideoFrame(16, 16, "yuv420p")), *stream.encode(None)])
    options = ("--output", tmp_path / "out", "--set", "OpenT2VSampler.steps=1")
    code, errors = start(monkeypatch, capsys, tmp_path / "a.mkv", *options)
    assert code == 0, errors
    saved = json.loads(workflow_inside(tmp_path / "out" / "OpenT2V_00001.mp4"))
    assert {node["type"] for node in saved["nodes"]} == {node["type"] for node in json.loads(flow)["nodes"]}


@pytest.mark.parametrize("has_input", [False, True])
def test_pictures_beside_the_workflow_are_read_where_there_is_no_input_folder(tmp_path, monkeypatch, capsys, has_input):
    from PIL import Image

    flow = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "beside.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    (tmp_path / "flow").mkdir()
    (tmp_path / "flow" / "flow.json").write_text(json.dumps(flow))
    Image.new("RGB", (16, 16), (255, 0, 0)).save(tmp_path / "flow" / "beside.png")
    if has_input:
        (tmp_path / "input").mkdir()
    code, errors = start(monkeypatch, capsys, tmp_path / "flow" / "flow.json", "--output", tmp_path / "out")
    assert code == (1 if has_input else 0), errors
    if has_input:
        assert "'beside.png' is not in the input folder" in errors
    else:
        (saved,) = (tmp_path / "out").glob("*.png")
        assert Image.open(saved).getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize("folder", ["input", "none"])
def test_a_missing_picture_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys, folder):
    (tmp_path / "input").mkdir()
    flow = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "no.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    (tmp_path / "flow.json").write_text(json.dumps(flow))
    options = ("--output", tmp_path / "out", "--input", tmp_path / folder)
    code, errors = start(monkeypatch, capsys, tmp_path / "flow.json", *options)
    assert code == 1 and not (tmp_path / "out").exists()
    expected = (
        "'no.png' is not in the input folder" if folder == "input" else "none is no folder; --input takes the one"
    )
    assert expected in errors
