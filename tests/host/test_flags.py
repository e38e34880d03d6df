"""The quickstart under ComfyUI's own flags, frame by frame beside the embedded host: one server for each group.

`pytest -m flags` chooses these. --lowvram and --novram exclude --cpu, which all these servers run with; partial loading
itself is in `cases_ours.py` and `cases_lora.py`.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from opent2v.headless.runner import run
from opent2v.headless.workflow import load_workflow
from opent2v.nodes import NODE_CLASS_MAPPINGS

from .keep_frames import KeepFrames
from .server import ROOT, Server

pytestmark = [pytest.mark.host, pytest.mark.flags]
EXACT, HALF = 1e-5, 0.01
# Flags that only newer hosts know are left out on older ones.
GROUPS = {
    "none": ([], EXACT),
    "no caches": (["--cache-none", "--disable-dynamic-vram", "--reserve-vram=1"], EXACT),
    "fast": (["--cache-ram", "--fast"], EXACT),
    "half precision": (["--fp16-intermediates"], HALF),
}


def graph(file: Path) -> dict:
    """The quickstart as the page sends it, with its frames kept besides."""
    workflow = json.loads((ROOT / "workflows" / "quickstart.json").read_text(encoding="utf-8"))
    nodes = load_workflow(workflow, NODE_CLASS_MAPPINGS).prompt()
    api = {i: {"class_type": node["class_type"], "inputs": dict(node["inputs"])} for i, node in nodes.items()}
    (decode,) = (i for i, node in api.items() if node["class_type"] == "OpenT2VDecode")
    return api | {"kept": {"class_type": "KeepFrames", "inputs": {"images": [decode, 0], "file": str(file)}}}


@pytest.fixture(scope="module")
def reference(tmp_path_factory, quickstart_model: Path) -> torch.Tensor:
    """The embedded host's frames."""
    file = tmp_path_factory.mktemp("reference") / "frames.safetensors"
    api = {i: node for i, node in graph(file).items() if node["class_type"] != "OpenT2VSaveVideo"}
    classes = NODE_CLASS_MAPPINGS | {"KeepFrames": KeepFrames}
    run(load_workflow(api, classes), classes)
    frames = load_file(file)["images"]
    assert frames.shape == (33, 96, 96, 3) and frames.std() > 0.05
    return frames


def known(comfyui: Path, flags: list[str]) -> list[str]:
    """The flags that this ComfyUI has."""
    text = (comfyui / "comfy" / "cli_args.py").read_text(encoding="utf-8")
    return [flag for flag in flags if f'"{flag.partition("=")[0]}"' in text]


def contact_sheet(frames: torch.Tensor, file: Path) -> None:
    """Every fourth frame in a row, as a PNG."""
    from PIL import Image

    row = torch.cat(list(frames[::4]), dim=1)
    Image.fromarray((row * 255).round().byte().numpy()).save(file)


@pytest.mark.parametrize("group", GROUPS)
def test_the_quickstart_gives_the_embedded_hosts_frames(comfyui, python, reference, tmp_path, group):
    flags, allowed = GROUPS[group]
    flags = known(comfyui, flags)
    if GROUPS[group][0] and not flags:
        pytest.skip(f"this ComfyUI has none of {GROUPS[group][0]}")
    base, file = tmp_path / "base", tmp_path / "frames.safetensors"
    with_node = Server(comfyui, python, base, *flags)
    shutil.copy(Path(__file__).parent / "keep_frames.py", base / "custom_nodes")
    with with_node as server:
        for _ in range(2):  # the second run may take everything from the host's cache
            entry = server.wait(server.queue(graph(file)), 300)
            assert entry["status"]["status_str"] == "success", entry["status"]
        frames = load_file(file)["images"].float()
        shown = next(found["images"] for found in entry["outputs"].values() if found.get("images"))
        assert (base / "output" / shown[0]["subfolder"] / shown[0]["filename"]).is_file()
    place = Path(os.environ.get("OPENT2V_SCREENSHOTS") or tmp_path)
    place.mkdir(parents=True, exist_ok=True)
    contact_sheet(frames, place / f"quickstart under {' '.join(flags) or 'no flags'}.png")
    assert frames.shape == reference.shape
    assert (frames - reference).abs().max() <= allowed
