"""A video of the input folder through a real ComfyUI into every format, the way the page runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from opent2v.nodes.remarks import KEY as REMARKS
from opent2v.tests.media.clips import save
from opent2v.tests.media.pages import page_metadata
from opent2v.tests.media.test_writer_sound import sound

from .server import Server

pytestmark = pytest.mark.host
WORKFLOW = {"nodes": [], "links": [], "extra": {"title": "保存 {"}}


@pytest.fixture(scope="module")
def server(comfyui: Path, python: str, tmp_path_factory):
    with Server(comfyui, python, tmp_path_factory.mktemp("comfyui") / "base") as running:
        (running.base / "input").mkdir(exist_ok=True)
        save(running.base / "input", torch.rand(12, 64, 96, 3), audio=sound(2))
        yield running


def graph(file="clip_00001.mp4", **given) -> dict:
    load = {"file": file, "start": 2, "count": 8, "every": 1, "fps": 0.0, "width": 0, "height": 0, "fit": "crop"}
    kept = {"images": ["1", 0], "audio": ["1", 1], "fps": ["1", 2], "filename_prefix": "saved/clip", "quality": 80}
    return {
        "1": {"class_type": "OpenT2VLoadVideo", "inputs": load},
        "2": {"class_type": "OpenT2VSaveVideo", "inputs": kept | given},
    }


def choices(server) -> list[str]:
    return server.get("/object_info/OpenT2VSaveVideo")["OpenT2VSaveVideo"]["input"]["optional"]["format"][0]


def test_the_uploaded_video_is_offered(server):
    declared = server.get("/object_info/OpenT2VLoadVideo")["OpenT2VLoadVideo"]["input"]["required"]["file"]
    assert declared[0] == ["clip_00001.mp4"] and declared[1]["video_upload"] is True


def test_every_format_is_saved_shown_and_carries_its_graph(server):
    for key in choices(server):
        prompt = graph(format=key)
        entry = server.wait(server.queue(prompt, WORKFLOW))
        assert entry["status"]["status_str"] == "success", (key, entry["status"])
        shown = entry["outputs"]["2"].get("images", [])
        said = "\n".join(entry["outputs"]["2"][REMARKS])
        if not shown:
            assert "Browsers do not play" in said, key
            continue
        query = "&".join(f"{name}={value.replace(' ', '+')}" for name, value in shown[0].items())
        path = server.base / "output" / shown[0]["subfolder"] / shown[0]["filename"]
        assert server.get(f"/view?{query}") == path.read_bytes()
        if key == "gif":
            assert "does not restore it from gif" in said
        else:
            found = page_metadata(path)
            found["prompt"]["1"].pop("is_changed", None)  # the host notes there what IS_CHANGED said
            assert found == {"prompt": prompt, "workflow": WORKFLOW}, key


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"file": "../output/clip.mp4"}, "leads out of the input folder"),
        ({"file": "gone.mp4"}, "is not in the input folder"),
        ({"format": "avi"}, "format is 'avi'; expected mp4 h264"),
        ({"crf": 70.0}, "crf is 70.0; mp4 h264 takes 0"),
        ({"format": "gif", "preset": "slow"}, "gif has no presets"),
    ],
)
def test_bad_values_are_refused_before_anything_runs(server, given, message):
    refused = json.dumps(server.post("/prompt", {"prompt": graph(**given), "client_id": "test"}))
    assert message in refused


def test_a_silent_video_passes_through(server):
    save(server.base / "input", torch.rand(4, 64, 64, 3), stem="silent")
    prompt = graph("silent_00001.mp4")
    prompt["1"]["inputs"]["start"] = 0
    entry = server.wait(server.queue(prompt))
    assert entry["status"]["status_str"] == "success", entry["status"]
