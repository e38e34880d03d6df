"""The two commands that make videos, as a person types them; and the workflow that ships."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOW = ROOT / "workflows" / "quickstart.json"


def graph_of(video: Path) -> dict:
    with av.open(str(video)) as container:
        return json.loads(container.metadata["workflow"])


def test_quickstart_writes_a_video_and_tells_what_it_did(tmp_path):
    (tmp_path / "OpenT2V_00001.mp4").write_text("an earlier one")
    options = ["--steps", "1", "--seed", "7", "--prompt", "一颗蓝色的星星", "--out", str(tmp_path)]
    command = [sys.executable, str(ROOT / "scripts" / "quickstart.py"), *options]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr
    video = tmp_path / "OpenT2V_00002.mp4"
    stages = r"load .* s\nencode .* s\nsample .* s\ndecode .* s\nsave .* s\n"
    summary = rf"prompt   一颗蓝色的星星\nseed     7\ntotal .* s\nvideo    {re.escape(str(video))}\n"
    assert re.fullmatch(rf"{stages}(.*\n)*{summary}", done.stdout), done.stdout
    assert (tmp_path / "OpenT2V_00001.mp4").read_text() == "an earlier one"
    nodes = {node["type"]: node.get("widgets_values") for node in graph_of(video)["nodes"]}
    assert nodes["OpenT2VSampler"][:3] == [7, "randomize", 1], "the workflow in the video is the one that ran"
    assert nodes["OpenT2VEncodePrompt"][0] == "一颗蓝色的星星"


def test_quickstart_writes_the_file_that_was_named(tmp_path, monkeypatch, capsys):
    import console
    import quickstart

    monkeypatch.setattr(sys, "argv", ["quickstart.py", "--steps", "1", "--out", str(tmp_path / "new" / "clip.mp4")])
    assert console.guard(quickstart.main) == 0, capsys.readouterr().err
    assert os.listdir(tmp_path / "new") == ["clip.mp4"]
    assert console.guard(quickstart.main) == 1
    assert "clip.mp4 exists already, and a video is never overwritten; choose another" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to another process there")
def test_ctrl_c_leaves_nothing_behind(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "quickstart.py"), "--steps", "1000", "--out", str(tmp_path)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("encode"):
        assert process.poll() is None
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "\nInterrupted.\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("format", "saved"),
    [("mp4 h264", "OpenT2V_00001.mp4"), ("mkv ffv1", "OpenT2V_00001.mkv"), ("png sequence", "OpenT2V_00001")],
)
def test_run_workflow_prints_remarks_and_files(tmp_path, monkeypatch, capsys, format, saved):
    import console
    import run_workflow

    changes = ["--set", "OpenT2VSampler.steps=1", "--set", "4.seed=5", "--output", str(tmp_path)]
    changes += ["--set", f"OpenT2VSaveVideo.format={format}"]
    monkeypatch.setattr(sys, "argv", ["run_workflow.py", str(FLOW), *changes])
    assert console.guard(run_workflow.main) == 0
    printed = capsys.readouterr()
    assert printed.out.count(f"saved {tmp_path / saved}\n") == 1, printed.err
    assert (tmp_path / saved).exists()
    assert "Video Sampler: 1 steps" in printed.out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--set", "OpenT2VSampler.steps=-1"], "error: cannot set OpenT2VSampler.steps: is -1; expected 0 to 1000\n"),
        (["--set", "Sampler.steps=1"], "error: cannot set Sampler.steps: no node has the id, title or class 'Sampler'"),
        (["--models", "nowhere"], "error: nowhere is no folder; --models takes one laid out like ComfyUI's models/\n"),
        (["--output", str(FLOW)], f"error: {FLOW} is a file; the output goes into a folder\n"),
    ],
)
def test_mistakes_are_told_in_one_message(changes, message, monkeypatch, capsys):
    import console
    import run_workflow

    monkeypatch.setattr(sys, "argv", ["run_workflow.py", str(FLOW), *changes])
    assert console.guard(run_workflow.main) == 1
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"does not exist; expected a workflow file"),
        (b"\x89PNG\xff", r"is no text file; expected a workflow"),
        (b"{", r"this file is not JSON"),
        (b'{"1": {"class_type": "KSampler", "inputs": {}}}', r"KSampler is a node of ComfyUI itself and needs ComfyUI"),
    ],
)
def test_a_file_that_cannot_run_is_told(content, message, tmp_path, monkeypatch, capsys):
    import console
    import run_workflow

    file = tmp_path / "flow.json"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["run_workflow.py", str(file)])
    assert console.guard(run_workflow.main) == 1
    assert message in capsys.readouterr().err


def test_a_finished_video_never_takes_a_name_that_is_in_use(tmp_path):
    import quickstart

    video, target = tmp_path / "OpenT2V_00001.mp4", tmp_path / "mine.mp4"
    video.write_text("new")
    target.write_text("old")
    assert quickstart.put(video, target) == video
    assert target.read_text() == "old"
    target.unlink()
    assert quickstart.put(video, target) == target
    assert os.listdir(tmp_path) == ["mine.mp4"]


def test_comfyui_must_be_a_checkout(tmp_path):
    import comfyui_start
    import environment

    with pytest.raises(environment.SetupError, match=r"is no ComfyUI checkout \(no comfy/ and execution\.py in it\)"):
        comfyui_start.ensure(tmp_path)


@pytest.mark.parametrize("has_venv", [False, True])
def test_comfyuis_own_python_is_used_when_this_one_lacks_something(has_venv, tmp_path, monkeypatch):
    import comfyui_start
    import environment

    (tmp_path / "comfy").mkdir()
    (tmp_path / "execution.py").touch()
    (tmp_path / "requirements.txt").write_text("comfyui-frontend-package==1\nno-such-thing\n")
    python = environment.python_of(tmp_path / ".venv")
    if has_venv:
        python.parent.mkdir(parents=True)
        python.touch()
    started = []
    monkeypatch.setattr(environment, "restart", started.append)
    with pytest.raises(environment.SetupError, match="lacks no-such-thing"):
        comfyui_start.ensure(tmp_path)
    assert started == ([python] if has_venv else [])


def test_the_shipped_workflow_is_tidy():
    from opent2v.nodes import NODE_CLASS_MAPPINGS

    flow = json.loads(FLOW.read_text(encoding="utf-8"))
    assert {node["type"] for node in flow["nodes"]} <= {*NODE_CLASS_MAPPINGS, "Note"}
    assert flow["version"] == 0.4
    assert flow["last_node_id"] == max(node["id"] for node in flow["nodes"])
    assert flow["last_link_id"] == max(link[0] for link in flow["links"])
    ends = {}
    for node in flow["nodes"]:
        for slot, output in enumerate(node["outputs"]):
            for link in output["links"] or ():
                ends.setdefault(link, [link, node["id"], slot, None, None, output["type"]])
    for node in flow["nodes"]:
        for slot, item in enumerate(node["inputs"]):
            if item["link"] is not None:
                ends[item["link"]][3:5] = [node["id"], slot]
    assert sorted(ends.values()) == flow["links"], "both ends of every link agree"
    boxes = [(*node["pos"], *node["size"]) for node in flow["nodes"]]
    for index, (x, y, width, height) in enumerate(boxes):
        for left, top, wide, high in boxes[index + 1 :]:
            apart = x + width <= left or left + wide <= x or y + height <= top - 30 or top + high <= y - 30
            assert apart, "nodes do not overlap, titles (30 pixels above a node) included"
