"""Every template of LTX-2 through the page, on tiny weights, to a file whose sound is as long as its picture."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from opent2v.tests.browser.pages import Browser, Page, workflow
from opent2v.tests.host.server import ROOT, Server
from opent2v.tests.workflows import tiny_files

pytestmark = [pytest.mark.browser, pytest.mark.host]

NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("ltx2*.json"))
WIDTH, HEIGHT, FRAMES, FPS = 64, 64, 17, 25
SMALLER = """(values) => app.graph.nodes.forEach((node) => node.widgets?.forEach((widget) => {
  if (widget.name in values) widget.value = values[widget.name]
}))"""
SOUND = "opent2v_tone.wav"


@pytest.fixture(scope="module")
def page(browser: Browser, server: Server, comfyui: Path) -> Iterator[Page]:
    """A page whose ComfyUI has small files of the names that the templates ask for, and a sound."""
    if not (comfyui / "comfy/text_encoders/gemma4.py").is_file():
        pytest.skip("this ComfyUI has no LTX-2 with its connectors inside the MODEL")
    for name in NAMES:
        tiny_files.put(server.base / "models", tiny_files.asked(workflow(name)))
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000) * 8000
    with wave.open(str(server.base / "input" / SOUND), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(tone.astype("<i2").tobytes())
    with browser.open(server, "ltx2") as opened:
        yield opened


@pytest.mark.parametrize("name", NAMES)
def test_a_template_makes_a_file_with_its_sound(page: Page, name: str, screenshots: Path) -> None:
    flow = workflow(name)
    for node in flow["nodes"]:
        if node["type"] == "LoadAudio":
            node["widgets_values"][0] = SOUND
    page.load(flow)
    small = {"width": WIDTH, "height": HEIGHT, "frames": FRAMES, "steps": 2, "seconds": 0}
    page.tab.evaluate(SMALLER, small)
    (saving,) = (node["id"] for node in flow["nodes"] if node["type"] == "OpenT2VDecodeToVideo")
    file = page.server.base / "output" / page.run(saving)
    page.screenshot(name)
    pictures, sound, rate = read(file)
    times = 2 if "two_stage" in name else 1
    assert pictures.shape == (FRAMES, HEIGHT * times, WIDTH * times, 3) and pictures.std() > 5
    # The encoder of the sound works in blocks of 1024 samples.
    assert abs(sound.shape[1] / rate - FRAMES / FPS) <= 1 / FPS + 1024 / rate
    assert np.abs(sound).max() > 1e-4, "the sound is not silence"
    Image.fromarray(np.concatenate(list(pictures[:: FRAMES // 4]), 1)).save(screenshots / f"{name}-frames.png")
    spectrogram(sound.mean(0)).save(screenshots / f"{name}-sound.png")


def read(file: Path) -> tuple[Any, Any, int]:
    """(frames [F, H, W, 3], samples [channels, N], samples a second) of a file."""
    with av.open(str(file)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        rate = container.streams.audio[0].rate
    with av.open(str(file)) as container:
        planar = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return frames, np.concatenate(planar, 1), rate


def spectrogram(samples: Any, window: int = 512) -> Image.Image:
    """Time to the right, frequency upwards, 80 dB from black to white."""
    count = max(1, (len(samples) - window) // (window // 4))
    pieces = np.stack([samples[n * window // 4 :][:window] * np.hanning(window) for n in range(count)])
    power = 20 * np.log10(np.abs(np.fft.rfft(pieces)) + 1e-9)
    levels = np.clip((power - power.max() + 80) / 80, 0, 1)
    return Image.fromarray((255 * levels.T[::-1]).astype(np.uint8)).resize((640, 256))
