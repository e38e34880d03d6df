"""Open-Sora 2.0 in a real ComfyUI: the original's runs, both hosts, core's nodes, and the templates to a video file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from opent2v.headless.workflow import load_workflow
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.tests.workflows import tiny_files
from opent2v.tests.workflows.core_nodes import CORE_CLASSES, CORE_TITLES

from .report import cases_of, report_of
from .server import ROOT, Server

pytestmark = pytest.mark.host
TEMPLATES = ("open_sora_text_to_video", "open_sora_image_to_video")


@pytest.fixture(scope="module")
def inside(comfyui: Path, python: str) -> Callable[[str], Any]:
    """What a case of inside_open_sora.py found."""
    return cases_of(report_of(python, "inside_open_sora.py", comfyui), "open_sora ")


@pytest.mark.parametrize("kind", ["t2v", "i2v_head", "i2v_tail", "i2v_loop", "v2v_head", "v2v_tail"])
def test_our_sampler_makes_the_originals_runs(inside, kind):
    """Recorded from the original's own loop, see tests/families/test_open_sora.py."""
    assert inside("loops")[kind] <= 2e-4


def test_both_hosts_agree_and_core_encodes_as_we_do(inside):
    found = inside("hosts")
    assert found["conditioning"] <= 1e-6 and found["latents"] <= 1e-4 and found["frames"] <= 1e-4
    assert found["core text"] <= 1e-6 and found["pooled"] <= 1e-6


def test_cores_ksampler_samples_our_model(inside):
    found = inside("ksampler")
    assert found["shift"] == pytest.approx(5.7326, abs=1e-3)
    for kind in ("t2v", "i2v_loop", "v2v_head", "fp8"):
        assert found[kind]["finite"] and found[kind]["size"] > 0.5
    assert found["t2v"]["shape"] == [1, 16, 3, 6, 8] and found["v2v_head"]["shape"] == [1, 16, 11, 4, 4]


def test_fp8_storage_and_partial_loading(inside):
    stored, partly = inside("storage"), inside("partly")
    assert stored["fp8"] and stored["outside"] == "torch.bfloat16" and stored["size"] < 0.8
    assert 0 < stored["apart"] < 2  # of about 4: three bits of mantissa, and guidance of 7.5
    assert 0 < partly["share"] < 0.5 and partly["against whole"] <= 1e-5 and partly["size"] > 0.5


def test_a_step_cache_in_both_samplers(inside):
    found = inside("step_cache")
    assert found["finite"] and found["moved"] > 0.01 and found["ksampler"]["finite"]


def test_normalised_attention_guidance_beside_a_picture_is_the_same_on_both_hosts(inside):
    """Against the paper's formula: tests/sampling/test_nag_joint.py."""
    found = inside("nag")
    assert found["apart"] <= 1e-5 and found["without"] > 1e-3


def test_a_step_cache_under_guidance_by_a_picture_on_both_hosts(inside):
    found = inside("cached_pictures")
    assert set(found) == {"all computed", "plan", "easycache", "first block", "blocks"}
    for case, one in found.items():
        assert one["apart"] <= 1e-4 and one["steps"][0] == one["steps"][1], case
        assert one["from words alone"] > 1e-3, case
    assert found.pop("all computed")["from full"] <= 1e-6
    for case, one in found.items():
        ours = one["steps"][0]
        assert one["from full"] > 1e-3 and "r" in ours["without_image"], case
        # Steps 11 and 13 run the prompt alone; in all others the three conditions go together.
        assert ours["negative"] == ours["without_image"] == ours["positive"][:11] + ours["positive"][12], case
    assert found["plan"]["steps"][0]["positive"] == "CrCrCrCrCrCrCC"


def test_cores_lora_loader_on_both_kinds_of_blocks(inside):
    assert inside("lora")["patched"] == 2 and inside("lora")["moved"] > 0.01 and inside("lora")["restored"]


def test_cores_dual_clip_loader_makes_our_conditioning(inside):
    found = inside("dual_clip")
    assert found["shape"] == [1, 512, 16] and found["shorter"] == [1, 256, 16]
    assert found["size"] > 0.1 and found["context"] <= 1e-4 and found["pooled"] <= 1e-4 and found["run"] <= 1e-3
    assert found["refusal"].startswith("fps and motion_score are set, and this CLIP was not loaded by an OpenT2V node")
    assert 'end the prompt with " 24 FPS. 4 motion score." yourself' in found["refusal"]


# --- from workflow file to video file ---


@pytest.fixture(scope="module")
def server(comfyui: Path, python: str, tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui") / "base"
    flows = [json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8")) for name in TEMPLATES]
    links = [one for flow in flows for node in flow["nodes"] for one in node["properties"].get("models", ())]
    tiny_files.put(base / "models", sorted({(one["directory"], one["name"]) for one in links}))
    (base / "input").mkdir()
    Image.linear_gradient("L").convert("RGB").resize((64, 48)).save(base / "input" / "example.png")
    with Server(comfyui, python, base) as running:
        yield running


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_makes_a_video_file(server, name):
    from opent2v.host import embedded

    embedded.configure(models=server.base / "models", input=server.base / "input")
    classes = {**NODE_CLASS_MAPPINGS, **CORE_CLASSES}
    flow = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    graph = load_workflow(flow, classes, {**NODE_DISPLAY_NAME_MAPPINGS, **CORE_TITLES})
    prompt = {i: {"class_type": n["class_type"], "inputs": dict(n["inputs"])} for i, n in graph.prompt().items()}
    small = {"width": 64, "height": 48, "frames": 9, "steps": 12}
    for node in prompt.values():
        node["inputs"].update({k: v for k, v in small.items() if not isinstance(node["inputs"].get(k, []), list)})
    entry = server.wait(server.queue(prompt))
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
    shown = [one for output in entry["outputs"].values() for one in output.get("images", ())]
    (path,) = [server.base / "output" / one["subfolder"] / one["filename"] for one in shown]
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert float(video.streams.video[0].average_rate) == 24
    assert len(frames) == 9 and frames[0].shape == (48, 64, 3) and max(frame.std() for frame in frames) > 1
    said = json.dumps(entry["outputs"])
    assert "cfg 7.5 oscillating" in said and "Appended to the prompt: 24 FPS. 4 motion score." in said
    assert ("picture_cfg 3" in said) == ("image" in name)
