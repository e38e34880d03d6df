"""Every template of MiniMax H3 through the page, on tiny weights, to a file whose sound is as long as its picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opent2v.tests.browser.pages import Browser, Page, workflow
from opent2v.tests.browser.test_ltx2 import SMALLER, read, spectrogram
from opent2v.tests.host.server import ROOT, Server
from opent2v.tests.workflows import tiny_files

pytestmark = [pytest.mark.browser, pytest.mark.host]

NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("minimax_h3*.json"))
SIDE, FRAMES, FPS = 64, 22, 24
BEFORE, OVERLAP = 30, 5  # of the clip that is gone on from


@pytest.fixture(scope="module")
def clip(server: Server) -> Iterator[str]:
    """Name of a clip in the input folder, which the page must know before it opens."""
    name = tiny_files.put_clip(server.base / "input", BEFORE, SIDE)
    yield name
    (server.base / "input" / name).unlink()


@pytest.fixture(scope="module")
def page(browser: Browser, server: Server, comfyui: Path, clip: str) -> Iterator[Page]:
    """A page whose ComfyUI has small files of the names that the templates ask for."""
    if not (comfyui / "comfy/ldm/minimax").is_dir():
        pytest.skip("this ComfyUI has no MiniMax H3")
    for name in NAMES:
        tiny_files.put(server.base / "models", tiny_files.asked(workflow(name)))
    with browser.open(server, "minimax_h3") as opened:
        yield opened


@pytest.mark.parametrize("name", NAMES)
def test_a_template_makes_a_file_with_its_sound(page: Page, clip: str, name: str, screenshots: Path) -> None:
    flow, count = workflow(name), FRAMES
    for node in flow["nodes"]:
        if node["type"] == "OpenT2VLoadVideo":
            node["widgets_values"][0], count = clip, BEFORE + FRAMES - OVERLAP
    page.load(flow)
    page.tab.evaluate(SMALLER, {"width": SIDE, "height": SIDE, "frames": FRAMES, "steps": 2, "overlap": OVERLAP})
    (saving,) = flow["extra"]["linearData"]["outputs"]
    file = page.server.base / "output" / page.run(int(saving))
    page.screenshot(name)
    pictures, sound, rate = read(file)
    assert pictures.shape == (count, SIDE, SIDE, 3) and pictures.std() > 5
    # The encoder of the sound works in blocks of 1024 samples.
    assert abs(sound.shape[1] / rate - count / FPS) <= 1 / FPS + 1024 / rate
    heard = sound[:, -rate // 2 :]
    assert np.abs(heard).max() > 1e-4, "the sound is not silence, up to its end"
    Image.fromarray(np.concatenate(list(pictures[:: count // 4]), 1)).save(screenshots / f"{name}-frames.png")
    spectrogram(sound.mean(0)).save(screenshots / f"{name}-sound.png")
