"""The step cache's template through a real ComfyUI server: measured, planned, sampled, compared, kept in the file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import av
import pytest

from opent2v.headless.workflow import load_workflow
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.nodes.remarks import KEY as REMARKS

from .server import ROOT, Server

pytestmark = pytest.mark.host
STEPS = 12


@pytest.fixture(scope="module")
def server(comfyui: Path, python: str, quickstart_model: Path, tmp_path_factory):
    with Server(comfyui, python, tmp_path_factory.mktemp("comfyui") / "base") as running:
        yield running


@pytest.fixture
def prompt() -> dict[str, Any]:
    """The template in the API's form, ids by class."""
    flow = json.loads((ROOT / "workflows" / "step_cache.json").read_text(encoding="utf-8"))
    graph = load_workflow(flow, NODE_CLASS_MAPPINGS)
    api = {i: {"class_type": n["class_type"], "inputs": dict(n["inputs"])} for i, n in graph.prompt().items()}
    for name in ("OpenT2VSampler", "OpenT2VCalibrateCache"):
        api[of_class(api, name)]["inputs"]["steps"] = STEPS
    return api


def of_class(api: dict[str, Any], name: str) -> str:
    return next(i for i, node in api.items() if node["class_type"] == name)


def ran(server: Server, api: dict[str, Any]) -> dict[str, Any]:
    """Id -> what the page is told of a node."""
    entry = server.wait(server.queue(api))
    assert entry["status"]["status_str"] == "success", entry["status"]
    return entry["outputs"]


def said(outputs: dict[str, Any], api: dict[str, Any], name: str) -> str:
    return "\n".join(outputs[of_class(api, name)][REMARKS])


def test_the_template_plans_does_says_and_keeps(server, prompt):
    outputs = ran(server, prompt)
    sampled = said(outputs, prompt, "OpenT2VSampler")
    aimed = re.search(r"Aimed at 2 x: (\d+) of 12 steps computed, by the profile", sampled)
    assert aimed and f"Step cache (auto): {aimed[1]} of 12 steps computed" in sampled
    (plan,) = set(re.findall(r"Plan: ([Cr]{12}) ", server.tail(20000)))
    assert f"\n{plan}\n" in sampled and plan.count("C") == int(aimed[1])
    assert re.search(r"[\d.]+ m?s a computed step, [\d.]+ m?s a reused one", sampled)
    assert re.search(r"frames \| [\d.]+ dB \| 0\.\d+", said(outputs, prompt, "OpenT2VCompareCache"))

    (shown,) = outputs[of_class(prompt, "OpenT2VDecodeToVideo")]["images"]
    with av.open(str(server.base / "output" / shown["subfolder"] / shown["filename"])) as video:
        made = json.loads(video.metadata["opent2v"])
    assert made["cache"] == f"{aimed[1]} of 12 steps computed"
    assert made["cache_report"]["steps"] == {"all": plan}
    assert made["cache_report"]["seconds"]["computed"] > made["cache_report"]["seconds"]["reused"] > 0


def test_the_saved_profile_serves_ksampler_and_is_refused_elsewhere(server, prompt):
    ran(server, prompt)
    (profile, *_) = sorted((server.base / "user" / "opent2v" / "step_cache").glob("*.json"))
    assert server.get("/object_info/OpenT2VLoadCacheProfile")["OpenT2VLoadCacheProfile"]["input"]["required"]["file"][0]
    model, words, latent = (of_class(prompt, f"OpenT2V{name}") for name in ("LoadModel", "EncodePrompt", "EmptyLatent"))
    further = {
        "profile": {"class_type": "OpenT2VLoadCacheProfile", "inputs": {"file": profile.stem}},
        "apply": {
            "class_type": "OpenT2VApplyStepCache",
            "inputs": {"model": [model, 0], "step_cache": [of_class(prompt, "OpenT2VStepCache"), 0]},
        },
        "sampler": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["apply", 0], "positive": [words, 0], "negative": [words, 1], "latent_image": [latent, 0],
                "seed": 1, "steps": STEPS, "cfg": 2.5, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0,
            },
        },
        "save": {"class_type": "SaveLatent", "inputs": {"samples": ["sampler", 0], "filename_prefix": "latent"}},
    }  # fmt: skip
    wanted = {model, words, latent, of_class(prompt, "OpenT2VStepCache")}
    api = {i: node for i, node in prompt.items() if i in wanted} | further
    api[of_class(api, "OpenT2VStepCache")]["inputs"]["profile"] = ["profile", 0]
    ran(server, api)
    assert re.search(r"Aimed at 2 x: \d+ of 12 steps computed, by the profile", server.tail(3000))

    whole = json.loads(profile.read_text(encoding="utf-8"))
    whole["made_for"]["weights"] = ["another"]
    (profile.parent / "other.json").write_text(json.dumps(whole), encoding="utf-8")
    api["profile"]["inputs"]["file"] = "other"
    entry = server.wait(server.queue(api))
    error = next(m[1] for m in entry["status"]["messages"] if m[0] == "execution_error")
    assert error["node_id"] == "apply"
    assert "made with other weights. Found: Wan" in error["exception_message"]
    assert "(weights another)" in error["exception_message"]
