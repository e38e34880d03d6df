"""A video of the input folder through a real ComfyUI into every format, the way the page runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from opent2v.nodes.remarks import KEY as REMARKS
from opent2v.tests.media.clips import save, sound
from opent2v.tests.media.pages import page_metadata

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
        shown = [file for name in ("images", "video") for file in entry["outputs"]["2"].get(name, [])]
        said = "\n".join(entry["outputs"]["2"][REMARKS])
        assert ("Browsers do not play" in said) == ("video" in entry["outputs"]["2"]), key
        assert len(shown) == (8 if key == "png sequence" else 1), key
        query = "&".join(f"{name}={value.replace(' ', '+')}" for name, value in shown[0].items())
        path = server.base / "output" / shown[0]["subfolder"] / shown[0]["filename"]
        assert server.get(f"/view?{query}") == path.read_bytes()
        if key in ("gif", "mkv ffv1"):
            assert f"does not restore it from {key}" in said
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


def test_every_saved_file_is_seen_by_the_lists_of_jobs(server):
    """What the page's queue and assets, and workers that run ComfyUI, go by."""
    for key in ("mp4 h264", "mkv ffv1", "gif", "png sequence"):
        prompt_id = server.queue(graph(format=key, filename_prefix="jobs/clip"))
        server.wait(prompt_id)
        job = server.get(f"/api/jobs/{prompt_id}")
        assert job["preview_output"]["filename"].startswith("clip_"), key
        assert job["preview_output"]["subfolder"].startswith("jobs"), key
        assert job["outputs_count"] == (8 if key == "png sequence" else 1), key


def test_the_saved_video_goes_on_as_cores_video(server):
    parts = {"3": {"class_type": "GetVideoComponents", "inputs": {"video": ["2", 1]}}}
    again = {"images": ["3", 0], "fps": ["3", 2], "filename_prefix": "again", "quality": 80}
    for key in ("mp4 h264", "mkv ffv1", "mov prores 422 hq", "webm vp9"):
        save_again = {"4": {"class_type": "OpenT2VSaveVideo", "inputs": again}}
        entry = server.wait(server.queue(graph(format=key) | parts | save_again))
        assert entry["status"]["status_str"] == "success", (key, entry["status"])
        assert entry["outputs"]["4"]["images"][0]["filename"].startswith("again_")
    entry = server.wait(server.queue(graph(format="gif") | parts | save_again))
    assert "2" in entry["outputs"] and "4" not in entry["outputs"]  # what needs a VIDEO is not run


def test_a_generated_clip_is_loaded_by_its_noted_name(server):
    entry = server.wait(server.queue(graph(filename_prefix="made/clip")))
    file = entry["outputs"]["2"]["images"][0]
    loaded = graph(file=f"{file['subfolder']}/{file['filename']} [output]", filename_prefix="loaded")
    entry = server.wait(server.queue(loaded))
    assert entry["status"]["status_str"] == "success", entry["status"]
    answer = server.post("/prompt", {"prompt": graph(file="none.mp4 [output]")})
    (error,) = answer["node_errors"]["1"]["errors"]
    assert error["extra_info"]["input_name"] == "file"
    assert "file - file 'none.mp4 [output]' is not in the output folder" in error["details"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "warp"}, "preset is 'warp'; mp4 h264 has ultrafast"),
        ({"format": "gif", "fps": 60.0}, "fps is 60, but a GIF shows 50 frames a second at most."),
        ({"filename_prefix": "a?b"}, "filename_prefix: The file or folder name 'a?b' holds '?'"),
        ({"filename_prefix": "%nothing%"}, "filename_prefix '%nothing%' holds '%nothing%', which stands for nothing"),
    ],
)
def test_one_wrong_input_is_one_error(server, given, message):
    answer = server.post("/prompt", {"prompt": graph(**given)})
    (error,) = answer["node_errors"]["2"]["errors"]
    assert error["details"].startswith(message)
    assert error["extra_info"]["exception_type"].endswith("InputRefused")


def test_dates_are_filled_in_without_the_page(server):
    entry = server.wait(server.queue(graph(filename_prefix="%date:yyyy%/%date:MM-dd%_%width%")))
    file = entry["outputs"]["2"]["images"][0]
    assert re.fullmatch(r"\d{4}", file["subfolder"]) and re.fullmatch(r"\d\d-\d\d_96_00001.mp4", file["filename"])
