"""The quickstart through a real ComfyUI server, the way the page runs it."""

from __future__ import annotations

import copy
import json
import os
import shutil
import time
from pathlib import Path

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


@pytest.fixture
def workflow() -> dict:
    return json.loads((ROOT / "workflows" / "quickstart.json").read_text(encoding="utf-8"))


@pytest.fixture
def prompt(workflow: dict) -> dict:
    graph = load_workflow(workflow, NODE_CLASS_MAPPINGS)
    api = {i: {"class_type": n["class_type"], "inputs": dict(n["inputs"])} for i, n in graph.prompt().items()}
    by_class(api, "OpenT2VSampler")["steps"] = 4
    return api


def by_class(api: dict, name: str) -> dict:
    return next(node["inputs"] for node in api.values() if node["class_type"] == name)


def error_of(entry: dict) -> dict:
    return next(m[1] for m in entry["status"]["messages"] if m[0] in ("execution_error", "execution_interrupted"))


def test_the_pack_loads_and_every_node_is_registered(server):
    known = server.get("/object_info")
    assert [name for name in NODE_CLASS_MAPPINGS if name not in known] == []
    assert "IMPORT FAILED" not in server.log.read_text(errors="replace")
    models = known["OpenT2VLoadModel"]["input"]["required"]["model"][0]
    assert models[0] == "opent2v-quickstart"


def test_templates_and_help_are_served(server):
    assert "quickstart" in json.dumps(server.get("/workflow_templates"))
    for name in NODE_CLASS_MAPPINGS:
        for page in (f"{name}.md", f"{name}/zh.md"):
            assert server.get(f"/extensions/OpenT2V/docs/{page}"), page


def test_the_quickstart_makes_a_playable_file_that_restores_its_graph(server, prompt, workflow):
    entry = server.wait(server.queue(prompt, workflow))
    assert entry["status"]["status_str"] == "success", entry["status"]
    shown = next(o["images"][0] for o in entry["outputs"].values() if "images" in o)
    assert shown["type"] == "output"
    path = server.base / "output" / shown["subfolder"] / shown["filename"]
    with av.open(str(path)) as video:
        assert json.loads(video.metadata["workflow"]) == workflow
        assert json.loads(video.metadata["prompt"]) == prompt
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert video.streams.video[0].codec_context.name == "h264"
    assert len(frames) == 33 and frames[0].shape == (96, 96, 3)
    served = server.get(f"/view?filename={shown['filename']}&subfolder={shown['subfolder']}&type=output")
    assert served == path.read_bytes()
    # Unchanged graph: nothing runs again, nothing is written.
    again = server.wait(server.queue(prompt, workflow))
    assert again["status"]["status_str"] == "success"
    assert len(list(path.parent.glob("*.mp4"))) == 1


def cached(entry: dict) -> set[str]:
    return set(next(m[1]["nodes"] for m in entry["status"]["messages"] if m[0] == "execution_cached"))


def ids(api: dict, *names: str) -> set[str]:
    return {i for i, node in api.items() if node["class_type"] in names}


def test_only_what_a_change_touches_runs_again(server, prompt):
    loader, empty = "OpenT2VLoadModel", "OpenT2VEmptyLatent"
    folder = server.base / "models" / "diffusers" / "copy"
    shutil.copytree(ROOT / "models" / "diffusers" / "opent2v-quickstart", folder)
    graph = copy.deepcopy(prompt)
    by_class(graph, loader)["model"] = "copy"

    def run() -> dict:
        entry = server.wait(server.queue(graph))
        assert entry["status"]["status_str"] == "success", entry["status"]
        return entry

    assert not ids(graph, loader) & cached(run())
    assert cached(run()) == set(graph)  # the same graph: nothing is encoded, loaded or sampled again
    by_class(graph, "OpenT2VEncodePrompt")["positive"] = "a blue circle growing on a black background"
    assert cached(run()) & set(graph) == ids(graph, loader, empty)
    by_class(graph, "OpenT2VSampler")["seed"] = 21
    assert cached(run()) & set(graph) == ids(graph, loader, empty, "OpenT2VEncodePrompt")
    os.utime(next((folder / "vae").glob("*.safetensors")), ns=(1, 1))
    assert not cached(run()) & set(graph)  # another file: loaded anew
    server.post("/free", {"unload_models": True, "free_memory": True})
    # The host frees before it takes a graph from the queue or, where it has taken one already, right behind that one.
    assert any(not cached(run()) & set(graph) for _ in range(2))  # everything is let go, and the graph still runs


def test_our_frames_in_create_video_and_cores_video_in_ours(server, prompt):
    if "EmptyAudio" not in server.get("/object_info"):
        pytest.skip("this ComfyUI has no EmptyAudio node (torchaudio is missing)")
    graph = {i: node for i, node in copy.deepcopy(prompt).items() if node["class_type"] != "OpenT2VSaveVideo"}
    (decode,), (empty,) = ids(graph, "OpenT2VDecode"), ids(graph, "OpenT2VEmptyLatent")
    graph |= {
        "sound": {"class_type": "EmptyAudio", "inputs": {"duration": 2.0, "sample_rate": 44100, "channels": 2}},
        "video": {
            "class_type": "CreateVideo",
            "inputs": {"images": [decode, 0], "fps": [empty, 4], "audio": ["sound", 0]},
        },
        "save": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["video", 0], "filename_prefix": "core", "format": "mp4", "codec": "h264"},
        },
    }
    entry = server.wait(server.queue(graph))
    assert entry["status"]["status_str"] == "success", entry["status"]
    file = next((server.base / "output").glob("core*.mp4"))
    assert what_is_in(file)[:3] == (33, 16, (96, 96))
    (server.base / "input").mkdir(exist_ok=True)
    shutil.copy(file, server.base / "input" / "from core.mp4")
    back = {
        "load": {"class_type": "LoadVideo", "inputs": {"file": "from core.mp4"}},
        "parts": {"class_type": "GetVideoComponents", "inputs": {"video": ["load", 0]}},
        "ours": {
            "class_type": "OpenT2VSaveVideo",
            "inputs": {
                "images": ["parts", 0],
                "audio": ["parts", 1],
                "fps": ["parts", 2],
                "filename_prefix": "back",
                "quality": 80,
            },
        },
    }
    entry = server.wait(server.queue(back))
    assert entry["status"]["status_str"] == "success", entry["status"]
    frames, fps, size, sounds = what_is_in(next((server.base / "output").glob("back*.mp4")))
    assert (frames, fps, size, sounds) == (33, 16, (96, 96), 1)


def what_is_in(file: Path) -> tuple[int, float, tuple[int, int], int]:
    """(frames, frames per second, (width, height), sound streams)"""
    with av.open(str(file)) as video:
        stream = video.streams.video[0]
        size, fps, sounds = (stream.width, stream.height), float(stream.average_rate), len(video.streams.audio)
        return sum(1 for _ in video.decode(video=0)), fps, size, sounds


def test_a_path_outside_is_refused_before_anything_runs(server, prompt):
    bad = copy.deepcopy(prompt)
    by_class(bad, "OpenT2VSaveVideo")["filename_prefix"] = "../outside"
    refused = json.dumps(server.post("/prompt", {"prompt": bad, "client_id": "test"}))
    assert "leads out of its folder" in refused
    assert not list(server.base.parent.glob("outside*"))


def test_an_error_names_its_cause_and_leaves_the_server_alive(server, prompt):
    bad = copy.deepcopy(prompt)
    by_class(bad, "OpenT2VEmptyLatent")["frames"] = 16384
    entry = server.wait(server.queue(bad))
    assert entry["status"]["status_str"] == "error"
    assert "frames is 16384; this model takes 1 to" in error_of(entry)["exception_message"]
    good = copy.deepcopy(prompt)
    by_class(good, "OpenT2VSampler")["seed"] = 7
    assert server.wait(server.queue(good))["status"]["status_str"] == "success"


def test_interrupt_stops_within_a_step_and_leaves_no_file(server, prompt):
    short = copy.deepcopy(prompt)
    by_class(short, "OpenT2VSampler").update(steps=1, seed=11)
    assert server.wait(server.queue(short))["status"]["status_str"] == "success"
    before = set((server.base / "output").rglob("*"))
    long = copy.deepcopy(prompt)
    by_class(long, "OpenT2VSampler").update(steps=900, seed=11)
    began = time.monotonic()
    running = server.queue(long)
    # Everything in front of the sampler is cached. An interrupt that comes before the graph has begun is forgotten.
    while f"{running}" not in server.get(f"/history/{running}") and time.monotonic() < began + 60:
        server.post("/interrupt", {})
        time.sleep(0.2)
    error = error_of(server.wait(running, 60))
    assert error["node_type"] == "OpenT2VSampler" and "exception_message" not in error
    assert time.monotonic() - began < 15
    assert set((server.base / "output").rglob("*")) == before
    after = copy.deepcopy(prompt)
    by_class(after, "OpenT2VSampler")["seed"] = 12
    assert server.wait(server.queue(after))["status"]["status_str"] == "success"


def test_rows_of_a_table_become_one_comparison_as_headless(server, prompt, tmp_path):
    """ComfyUI's executor and the headless runner run lists alike: the same frames, the same key."""
    from opent2v.headless.runner import run
    from opent2v.host import embedded

    graph = copy.deepcopy(prompt)
    (decode,), (save,) = ids(graph, "OpenT2VDecode"), ids(graph, "OpenT2VSaveVideo")
    rows = {"file": "none", "lines": "a red circle\na blue star", "seed": 1, "start": 1, "count": 0}
    compare = {"images": [decode, 0], "layout": "row", "labels": ["rows", 3], "blind": True, "seed": 3, "moments": 6}
    graph["rows"] = {"class_type": "OpenT2VRows", "inputs": rows}
    graph["compare"] = {"class_type": "OpenT2VCompareClips", "inputs": compare}
    by_class(graph, "OpenT2VEncodePrompt")["positive"] = ["rows", 0]
    graph[save]["inputs"] |= {"images": ["compare", 0], "format": "png sequence", "filename_prefix": "lists"}
    entry = server.wait(server.queue(graph))
    assert entry["status"]["status_str"] == "success", entry["status"]
    embedded.configure(output=tmp_path / "output")
    results = run(load_workflow(copy.deepcopy(graph), NODE_CLASS_MAPPINGS), NODE_CLASS_MAPPINGS)
    ours, theirs = results[save]["ui"]["images"], entry["outputs"][save]["images"]
    assert len(ours) == len(theirs) == 33
    for near, far in zip(ours, theirs, strict=True):
        with (
            av.open(str(tmp_path / "output" / near["subfolder"] / near["filename"])) as a,
            av.open(str(server.base / "output" / far["subfolder"] / far["filename"])) as b,
        ):
            first, second = (next(c.decode(video=0)).to_ndarray(format="rgb24").astype(int) for c in (a, b))
        assert abs(first - second).max() <= 1
    keys = [json.loads((folder / "output" / "blind_key_00001.json").read_text()) for folder in (tmp_path, server.base)]
    assert keys[0] == keys[1] and sorted(keys[0].values()) == ["1", "2"]


def test_an_error_of_our_model_in_cores_sampler_speaks_the_pages_language(server, prompt):
    """ModelSamplingDiscrete sets another kind of prediction than our MODEL has: KSampler fails in our code."""
    by_kind = {node["class_type"]: number for number, node in prompt.items()}
    model, text, empty = (by_kind[f"OpenT2V{name}"] for name in ("LoadModel", "EncodePrompt", "EmptyLatent"))
    graph = {number: prompt[number] for number in (model, text, empty)}
    sampling = {"model": [model, 0], "sampling": "eps", "zsnr": False}
    graph["sampling"] = {"class_type": "ModelSamplingDiscrete", "inputs": sampling}
    inputs = {"model": ["sampling", 0], "positive": [text, 0], "negative": [text, 1], "latent_image": [empty, 0]}
    inputs |= {"seed": 1, "steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    graph["sampler"] = {"class_type": "KSampler", "inputs": inputs}
    graph["save"] = {"class_type": "SaveLatent", "inputs": {"samples": ["sampler", 0], "filename_prefix": "x"}}
    said = {}
    try:
        for spoken in ("en", "zh"):
            server.post("/settings", {"Comfy.Locale": spoken})
            error = error_of(server.wait(server.queue(graph)))
            assert error["node_type"] == "KSampler"
            said[spoken] = error["exception_message"]
    finally:
        server.post("/settings", {"Comfy.Locale": "en"})
    assert said["en"].startswith("A node in front (ModelSamplingDiscrete or one like it)")
    assert "ModelSamplingDiscrete" in said["zh"] and "此 MODEL" in said["zh"]
    assert said["en"].strip() in server.log.read_text(errors="replace")
