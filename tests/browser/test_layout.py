"""No node of a template lies on another: as it opens, with all that it may say, while it runs and afterwards.

In the classic page and in Nodes 2.0, with previews, and with the models missing, which adds a bar to each loader. The
boxes are those that the page draws.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from opent2v.tests.browser.pages import BOXES, Browser, Page, overlapping, workflow
from opent2v.tests.host.server import ROOT, Server

pytestmark = [pytest.mark.browser, pytest.mark.host]

NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
BUNDLED = ("quickstart", "video_to_video", "finishing", "step_cache", "lora")
WATCH = f"() => {{ window.drawn = []; window.watch = setInterval(() => window.drawn.push(({BOXES})()), 100) }}"
DRAWN = "() => { clearInterval(window.watch); return window.drawn }"
SAY_MUCH = """() => app.graph.nodes.forEach(({ widgets }) => {
  const remarks = widgets?.find(({ name }) => name === 'opent2v_remarks')
  if (remarks) remarks.value = Array(9).fill('a line of remarks').join('\\n')
})"""


@pytest.fixture(scope="module", params=["classic", "nodes2"])
def page(request, browser: Browser, server: Server) -> Iterator[Page]:
    """A page with previews, whose ComfyUI has none of the templates' models."""
    for name in NAMES:
        for node in workflow(name)["nodes"]:
            for model in node["properties"].get("models", []):
                (server.base / "models" / model["directory"] / model["name"]).unlink(missing_ok=True)
    settings = {"Comfy.VueNodes.Enabled": request.param == "nodes2", "Comfy.Execution.PreviewMethod": "latent2rgb"}
    with browser.open(server, f"layout-{request.param}", **settings) as opened:
        # The floor's page says where it could not ask for a size, with the lines of its own code.
        opened.expected |= {"net::ERR_NAME_NOT_RESOLVED https://huggingface.co/…", "Error fetching file size: …"}
        yield opened


@pytest.mark.parametrize("name", NAMES)
def test_nodes_lie_apart_however_much_they_say(page: Page, name: str) -> None:
    flow = workflow(name)
    is_missing = any("models" in node["properties"] for node in flow["nodes"])
    assert is_missing <= bool(page.open(flow)), "the page says that models are missing"
    page.tab.keyboard.press("Escape")  # the floor says so in a window before the graph
    page.settle()
    page.screenshot(name)
    assert page.overlaps() == set()
    page.tab.evaluate(SAY_MUCH)
    page.settle()
    assert page.overlaps() == set()


@pytest.mark.parametrize("name", BUNDLED)
def test_nodes_lie_apart_while_they_run(page: Page, server: Server, name: str) -> None:
    flow = workflow(name)
    for node in flow["nodes"]:
        if node["type"] == "OpenT2VLoadVideo":
            clip = next((server.base / "output").glob("OpenT2V_*.mp4"))  # quickstart, the first of these, has saved one
            shutil.copy(clip, server.base / "input" / "clip.mp4")
            node["widgets_values"][0] = "clip.mp4"
    page.open(flow)
    titles = page.titles()
    page.tab.evaluate(WATCH)
    (saving,) = flow["extra"]["linearData"]["outputs"]
    page.run(int(saving))
    page.screenshot(f"{name}-ran")
    drawn = page.tab.evaluate(DRAWN)
    assert set().union(*(overlapping(boxes, titles) for boxes in drawn)) == page.overlaps() == set()
    assert page.remarks(), "nodes have said something"
