"""VideoCrafter2 in a real ComfyUI: the original's runs, both hosts, core's nodes, and the template to a video file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from opent2v.headless.workflow import load_workflow
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.tests.workflows import tiny_files

from .report import cases_of, report_of
from .server import ROOT, Server

pytestmark = pytest.mark.host
TEMPLATE = "videocrafter_text_to_video"


@pytest.fixture(scope="module")
def inside(comfyui: Path, python: str) -> Callable[[str], Any]:
    """What a case of inside_videocrafter.py found."""
    return cases_of(report_of(python, "inside_videocrafter.py", comfyui), "videocrafter ")


def test_our_sampler_makes_the_originals_runs(inside):
    """Recorded from the original's own DDIM, see tests/families/test_videocrafter.py."""
    found = inside("recorded")
    assert found["ddim"] <= 5e-5 and found["ddim_noisy"] <= 5e-5


def test_both_hosts_agree_and_core_encodes_as_we_do(inside):
    found = inside("hosts")
    assert found["conditioning"] <= 1e-5 and found["core text"] <= 1e-6
    assert max(found["latents"].values()) <= 1e-4 and len(found["latents"]) == 5
    assert found["frames"] <= 1e-4 and found["encoded"] <= 1e-4


def test_cores_ksampler_walks_our_models_noise_levels(inside):
    found = inside("ksampler")
    for name in ("euler simple", "ddim simple", "euler as ddim"):
        assert found[name] <= 1e-3, name
    assert found["same levels"] <= 1e-5  # core's ddim_uniform and the makers' timesteps
    assert found["range"] == pytest.approx([0.0292, 20.92], rel=1e-2)  # 14.6 without scale_t
    assert found["dpmpp_2m finite"] and found["euler_ancestral finite"] and found["uni_pc finite"]


def test_fp8_storage_and_partial_loading(inside):
    stored, partly = inside("storage"), inside("partly")
    assert stored["kinds"] == ["torch.bfloat16", "torch.float8_e4m3fn"] and stored["size"] < 0.6
    assert stored["finite"] and 0 < stored["apart"] < 0.3
    assert 0 < partly["share"] < 0.5 and partly["against whole"] <= 1e-5 and partly["size"] > 0.1


def test_the_rate_that_a_node_sets_reaches_the_model(inside):
    found = inside("rate")
    assert found["own"] == 0 and found["other"] > 1e-2


def test_cores_clip_of_stable_diffusion_2_makes_our_conditioning(inside):
    found = inside("sd2_clip_of_core")
    assert found["unread"] == [] and found["shape"] == [1, 77, 16] and found["size"] > 0.1
    assert found["context"] <= 1e-5 and found["run"] <= 1e-4


def test_cores_vae_of_stable_diffusion_1_takes_our_latents(inside):
    found = inside("vae_of_core")
    assert found["shape"] == [3, 32, 64, 3] and found["size"] > 0.01 and found["latent"] == [1, 4, 3, 4, 8]
    assert found["decoded"] <= 1e-4 and found["streamed"] <= 1e-4 and found["encoded"] <= 1e-3


def test_previews_are_the_plain_ones(inside):
    found = inside("preview")
    assert (found["name"], found["tiny"], found["factors"], found["dimensions"]) == ("SD15", None, 4, 3)
    assert found["scale"] == pytest.approx([0.18215] * 4)


# --- from workflow file to video file ---


@pytest.fixture(scope="module")
def server(comfyui: Path, python: str, tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui") / "base"
    flow = json.loads((ROOT / "workflows" / f"{TEMPLATE}.json").read_text(encoding="utf-8"))
    tiny_files.put(base / "models", tiny_files.asked(flow))
    with Server(comfyui, python, base) as running:
        yield running


def test_the_template_makes_a_video_file(server):
    from opent2v.host import embedded

    embedded.configure(models=server.base / "models")
    flow = json.loads((ROOT / "workflows" / f"{TEMPLATE}.json").read_text(encoding="utf-8"))
    graph = load_workflow(flow, NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS)
    prompt = {i: {"class_type": n["class_type"], "inputs": dict(n["inputs"])} for i, n in graph.prompt().items()}
    small = {"width": 64, "height": 32, "frames": 4, "steps": 2}
    for node in prompt.values():
        node["inputs"].update({k: v for k, v in small.items() if not isinstance(node["inputs"].get(k, []), list)})
    entry = server.wait(server.queue(prompt, flow))
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
    shown = [one for output in entry["outputs"].values() for one in output.get("images", ())]
    (path,) = [server.base / "output" / one["subfolder"] / one["filename"] for one in shown]
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert float(video.streams.video[0].average_rate) == 10 and json.loads(video.metadata["workflow"]) == flow
    assert len(frames) == 4 and frames[0].shape == (32, 64, 3) and max(frame.std() for frame in frames) > 1
    said = json.dumps(entry["outputs"])
    assert "VideoCrafter2, original layout" in said and "2 steps, cfg 12, ScaledDDIM" in said
