"""A story through a real ComfyUI server: shots as lists, one file of them, and only what changed made again.

Tests: nodes/storyboard.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import pytest

from opent2v.headless.workflow import load_workflow
from opent2v.nodes import NODE_CLASS_MAPPINGS

from .server import ROOT, Server

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def server(comfyui: Path, python: str, quickstart_model: Path, tmp_path_factory):
    with Server(comfyui, python, tmp_path_factory.mktemp("comfyui") / "base") as running:
        yield running


def template(name: str) -> dict[str, Any]:
    """A template in the API's form."""
    flow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    graph = load_workflow(flow, NODE_CLASS_MAPPINGS).prompt()
    return {i: {"class_type": node["class_type"], "inputs": dict(node["inputs"])} for i, node in graph.items()}


def story(shots: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """(the template in the API's form with these shots, its nodes' inputs by class)."""
    api = template("long_video_storyboard")
    inputs = {node["class_type"]: node["inputs"] for node in api.values()}
    inputs["OpenT2VStoryboard"]["shots"] = shots
    inputs["OpenT2VSampler"]["steps"] = 2
    return api, inputs


def told(server: Server, api: dict[str, Any]) -> tuple[dict[str, str], Path]:
    """(remarks of each node by class, the joined file)."""
    entry = server.wait(server.queue(api))
    assert entry["status"]["status_str"] == "success", entry["status"]
    kinds = {i: node["class_type"] for i, node in api.items()}
    remarks = {kinds[i]: "\n".join(shown.get("opent2v_remarks", [])) for i, shown in entry["outputs"].items()}
    (node,) = (i for i, kind in kinds.items() if kind == "OpenT2VJoinFiles")
    (file,) = entry["outputs"][node]["images"]
    return remarks, server.base / "output" / file["subfolder"] / file["filename"]


def frames(path: Path) -> int:
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def test_a_story_and_one_of_its_shots_changed(server):
    shots = "9 f | a red star\n9 f | a blue star | lora opent2v-quickstart-outline.safetensors\n5 f | a green circle"
    remarks, file = told(server, story(shots)[0])
    assert frames(file) == 23 and "3 clips, 23 frames at 16 fps\nJoints at frames 9, 18." in remarks["OpenT2VJoinFiles"]
    assert "The frames were copied" in remarks["OpenT2VJoinFiles"]
    assert remarks["OpenT2VSampler"].count("Kept as ") == 3

    remarks, file = told(server, story(shots.replace("a blue", "a white"))[0])
    assert remarks["OpenT2VSampler"].count("Taken from ") == 2 and remarks["OpenT2VSampler"].count("Kept as ") == 1
    assert remarks["OpenT2VDecodeToVideo"].count("Taken from ") == 2
    assert frames(file) == 23 and len(list((server.base / "output").glob("shot_*.mp4"))) == 4


def test_fades_of_the_story(server):
    remarks, file = told(server, story("9 f | a red star\n9 f | a blue star | fade 4 f\n5 f | a green circle")[0])
    assert frames(file) == 19 and "Joints at frames 5, 14." in remarks["OpenT2VJoinFiles"]
    assert "Encoded again: clips fade into each other." in remarks["OpenT2VJoinFiles"]


def test_pictures_first_then_what_lies_between_them(server):
    api = template("keyframes_first")
    for node in api.values():
        if node["class_type"] == "OpenT2VSampler":
            node["inputs"]["steps"] = 2
    kinds = {node["class_type"]: i for i, node in api.items()}
    shots = "9 f | a red circle\n9 f | a blue circle | lead\n9 f | a white square"
    api[kinds["OpenT2VStoryboard"]]["inputs"]["shots"] = shots
    # As the page's play button on a node runs it: everything behind that node stays out.
    queued = {"prompt": api, "client_id": "test", "partial_execution_targets": [kinds["SaveImage"]]}
    entry = server.wait(server.post("/prompt", queued)["prompt_id"])
    pictures = entry["outputs"][kinds["SaveImage"]]["images"]
    assert len(pictures) == 3 and kinds["OpenT2VJoinFiles"] not in entry["outputs"]
    assert "3 keyframes; 1 of 2 joints" in entry["outputs"][kinds["OpenT2VKeyframes"]]["opent2v_remarks"][0]

    remarks, file = told(server, api)
    assert frames(file) == 9 + 9 - 1 + 9 and "Joints at frames 8, 17." in remarks["OpenT2VJoinFiles"]
    assert remarks["OpenT2VContinue"].count("Fills in up to the end") == 1


def test_latents_of_a_story_end_in_one_file(server):
    api, inputs = story("9 f | a red star\n9 f | a blue star | fade 4 f\n5 f | a green circle")
    kinds = {node["class_type"]: i for i, node in api.items()}
    loader, sampler = kinds["OpenT2VLoadModel"], kinds["OpenT2VSampler"]
    inputs["OpenT2VJoinFiles"].update({"files": "", "latents": [sampler, 0], "vae": [loader, 2]})
    del api[kinds["OpenT2VDecodeToVideo"]]
    remarks, file = told(server, api)
    assert frames(file) == 19 and "3 clips, 19 frames at 16 fps" in remarks["OpenT2VJoinFiles"]


def test_bad_shots_and_settings_are_refused_before_the_run(server):
    api, inputs = story("9 f | a red star\nx | picture gone.png")
    inputs["OpenT2VJoinFiles"]["quality"] = 80
    answer = server.post("/prompt", {"prompt": api, "client_id": "test"})
    text = json.dumps(answer)
    assert "shot 2 (line 2): file 'gone.png' is not in the input folder" in text
    api, inputs = story("9 f | a red star\n9 f | x")
    inputs["OpenT2VJoinFiles"]["preset"] = "quickest"
    assert "preset is 'quickest'; mp4 h264 has ultrafast" in json.dumps(
        server.post("/prompt", {"prompt": api, "client_id": "test"})
    )
