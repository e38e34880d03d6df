"""Straight from latent to file in a real ComfyUI, with our VAE and with core's own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from .report import cases_of, report_of
from .server import ROOT, Server

pytestmark = pytest.mark.host
LOADED = {"class_type": "OpenT2VLoadModel", "inputs": {"model": "opent2v-quickstart", "dtype": "auto"}}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("weights") / "random_wan_vae.safetensors"


@pytest.fixture(scope="module")
def report(comfyui: Path, python: str, quickstart_model: Path, weights: Path) -> Callable[[str], Any]:
    return cases_of(report_of(python, "inside_stream.py", comfyui, "--scratch", weights.parent), "stream ")


@pytest.fixture(scope="module")
def server(comfyui: Path, python: str, report: Callable[[str], Any], weights: Path, tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui") / "base"
    (base / "models" / "vae").mkdir(parents=True)
    (base / "models" / "vae" / weights.name).symlink_to(weights)
    with Server(comfyui, python, base) as running:
        yield running


# --- in ComfyUI's Python ---


def test_our_vae_streams_what_it_decodes(report):
    ours = report("our_vae")
    assert ours["one"] == {"shape": [21, 96, 96, 3], "max": 0, "mean": 0, "largest": 4, "last": 6}
    assert ours["batch"]["max"] <= 1e-6 and ours["batch"]["last"] == 4
    assert ours["picture"] == [1, 48, 48, 3]


def test_tiles_where_a_piece_does_not_fit(report):
    assert report("tiles")["too large"] == 0
    assert report("tiles")["after a memory error"] == {"OutOfMemoryError": [9, 0], "AcceleratorError": [9, 0]}


def test_cores_vae_is_decoded_in_blended_stretches(report):
    core = report("core_vae")
    assert core["short"] == {"shape": [9, 16, 16, 3], "max": 0, "mean": 0, "largest": 9, "last": 3}
    assert core["long"]["shape"] == [93, 16, 16, 3] and core["long"]["last"] == 24 and core["long"]["largest"] <= 81
    assert core["long"]["mean"] < 0.002


def test_interrupt_and_video(report):
    assert report("interrupt") is True
    # Within a block or two of a step, a prompt or a clip, and nothing is left on the networks.
    assert report("interrupted") == {work: [True, True, 0] for work in ("text", "sampling", "decoding", "encoding")}
    assert report("video") == ["VideoFromFile", str(ROOT / "none.mp4")]


# --- on a server ---


def graph(vae: dict, **given) -> dict:
    """LATENT -> file -> VIDEO -> core's SaveVideo, and its frames through our finishing."""
    return {
        "1": LOADED,
        "2": vae,
        "3": {
            "class_type": "OpenT2VEncodePrompt",
            "inputs": {"clip": ["1", 1], "positive": "a red circle", "negative": ""},
        },
        "4": {
            "class_type": "OpenT2VEmptyLatent",
            "inputs": {"model": ["1", 0], "width": 64, "height": 64, "frames": given.pop("frames", 9)},
        },
        "5": {
            "class_type": "OpenT2VSampler",
            "inputs": {
                "model": ["1", 0], "positive": ["3", 0], "negative": ["3", 1], "latent": ["4", 0], "seed": 1,
                "steps": 2, "cfg": 1.0, "shift": 0.0, "solver": "reference", "denoise": 1.0,
            },
        },
        "6": {
            "class_type": "OpenT2VCaption",
            "inputs": {"text": "Hello", "position": "top", "size": 0.2, "opacity": 1.0},
        },
        "7": {
            "class_type": "OpenT2VDecodeToVideo",
            "inputs": {
                "vae": ["2", given.pop("slot", 0)], "latent": ["5", 0], "fps": 8.0, "filename_prefix": "streamed",
                "quality": 80, "finishing": ["6", 0], **given,
            },
        },
        "8": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["7", 0], "filename_prefix": "core", "format": "auto", "codec": "auto"},
        },
        "9": {"class_type": "GetVideoComponents", "inputs": {"video": ["7", 0]}},
        "10": {"class_type": "OpenT2VLoop", "inputs": {"fade": 0}},
        "11": {
            "class_type": "OpenT2VFinishFrames",
            "inputs": {"images": ["9", 0], "finishing": ["10", 0], "fps": ["9", 2]},
        },
        "12": {
            "class_type": "OpenT2VSaveVideo",
            "inputs": {"images": ["11", 0], "fps": ["11", 1], "filename_prefix": "looped", "quality": 80},
        },
    }  # fmt: skip


def frames_of(path: Path) -> tuple[int, float]:
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0)), float(video.streams.video[0].average_rate)


@pytest.mark.parametrize("kind", ["ours", "core"])
def test_latent_to_video_to_cores_nodes(server, weights, kind):
    vae = LOADED if kind == "ours" else {"class_type": "VAELoader", "inputs": {"vae_name": weights.name}}
    prompt = graph(vae, slot=2 if kind == "ours" else 0, filename_prefix=f"{kind}/streamed")
    entry = server.wait(server.queue(prompt, {"nodes": [], "links": []}))
    assert entry["status"]["status_str"] == "success", entry["status"]
    shown = entry["outputs"]["7"]["images"][0]
    assert entry["outputs"]["7"]["animated"] == [True]
    path = server.base / "output" / shown["subfolder"] / shown["filename"]
    assert path == server.base / "output" / kind / "streamed_00001.mp4"
    with av.open(str(path)) as video:
        assert json.loads(video.metadata["prompt"]) == prompt
    assert frames_of(path) == (9, 8.0)
    copied = entry["outputs"]["8"]["images"][0]
    assert frames_of(server.base / "output" / copied["subfolder"] / copied["filename"]) == (9, 8.0)
    looped = entry["outputs"]["12"]["images"][0]
    assert frames_of(server.base / "output" / looped["filename"]) == (16, 8.0)


def test_a_wrong_name_is_refused_before_the_run(server):
    refused = json.dumps(
        server.post("/prompt", {"prompt": graph(LOADED, slot=2, filename_prefix="../x"), "client_id": "t"})
    )
    assert "leads out of its folder" in refused


def test_interrupt_while_decoding_leaves_no_file(server):
    before = {path for path in (server.base / "output").rglob("*") if path.is_file()}
    prompt = graph(LOADED, slot=2)
    prompt = {key: node for key, node in prompt.items() if int(key) <= 7}
    prompt["5"] = {
        "class_type": "EmptyHunyuanLatentVideo",
        "inputs": {"width": 256, "height": 256, "length": 1001, "batch_size": 1},
    }
    running = server.queue(prompt)
    folder = server.base / "output"
    for _ in range(300):
        if list(folder.glob(".streamed*")):
            break
        time.sleep(0.1)
    assert list(folder.glob(".streamed*")), server.tail()
    asked = time.monotonic()
    server.post("/interrupt", {})
    entry = server.wait(running, 60)
    assert "interrupted" in json.dumps(entry["status"])
    assert time.monotonic() - asked < 15
    assert {path for path in folder.rglob("*") if path.is_file()} == before
