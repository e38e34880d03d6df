"""No node of a template lies on another: as it opens, with all that it may say, while it runs and afterwards.

In the classic page and in Nodes 2.0, with previews, and with the models missing, which adds a bar to each loader. The
boxes are those that the page draws.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from opent2v.tests.browser.pages import BOXES, Browser, Page, overlapping, workflow
from opent2v.tests.host.server import ROOT, Server
from opent2v.tests.workflows.bundled import BUNDLED

pytestmark = [pytest.mark.browser, pytest.mark.host]

NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
WATCH = f"() => {{ window.drawn = []; window.watch = setInterval(() => window.drawn.push(({BOXES})()), 100) }}"
DRAWN = "() => { clearInterval(window.watch); return window.drawn }"
SAY_MUCH = """() => app.graph.nodes.forEach(({ widgets }) => {
  const remarks = widgets?.find(({ name }) => name === 'opent2v_remarks')
  if (remarks) remarks.value = Array(9).fill('a line of remarks').join('\\n')
})"""

# Adds a node of each kind, as low as can be, and returns their ids.
ADD = """(kinds) => {
  app.graph.clear()
  return kinds.map((kind, index) => {
    const node = LiteGraph.createNode(kind)
    node.pos = [420 * index, 0]
    app.graph.add(node)
    node.setSize([400, 20])
    return node.id
  })
}"""
# The heights that nodes need: in Nodes 2.0 as they are drawn, without their titles.
NEEDED = """(ids) => ids.map((id) => {
  const drawn = document.querySelector(`[data-node-id="${id}"]`)?.getBoundingClientRect()
  return drawn ? drawn.height / app.canvas.ds.scale - 30 : app.graph.getNodeById(id).computeSize()[1]
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


@pytest.fixture
def clip(server: Server) -> Iterator[Path]:
    """Where a test may put a video into the input folder; it is gone afterwards, since other tests share the server."""
    path = server.base / "input" / "layout_clip.mp4"
    yield path
    path.unlink(missing_ok=True)


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


def test_the_stated_heights_hold_five_lines_of_remarks(page: Page, monkeypatch) -> None:
    """For nodes that stand in a column; Nodes 2.0 of frontend 1.35 stretches the whole page instead."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "make"))
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from workflow_graph import STAYING  # pyright: ignore[reportMissingImports]

    if page.tab.evaluate("() => LiteGraph.vueNodesMode") and page.frontend < (1, 49):
        pytest.skip("this page's Nodes 2.0 are higher, and it moves them apart itself")
    ids = page.tab.evaluate(ADD, list(STAYING))
    page.settle()
    page.tab.evaluate(SAY_MUCH)
    page.settle()
    needed = dict(zip(STAYING, page.tab.evaluate(NEEDED, ids), strict=True))
    assert {kind: height for kind, height in needed.items() if height > STAYING[kind] + 0.5} == {}


@pytest.mark.parametrize("name", BUNDLED)
def test_nodes_lie_apart_while_they_run(page: Page, server: Server, clip: Path, name: str) -> None:
    flow = workflow(name)
    for node in flow["nodes"]:
        if node["type"] == "OpenT2VLoadVideo":
            saved = next(
                (server.base / "output").glob("OpenT2V_*.mp4")
            )  # quickstart, the first of these, has saved one
            shutil.copy(saved, clip)
            node["widgets_values"][0] = clip.name
    page.open(flow)
    titles = page.titles()
    page.tab.evaluate(WATCH)
    (saving,) = flow["extra"]["linearData"]["outputs"]
    page.run(int(saving))
    page.screenshot(f"{name}-ran")
    drawn = page.tab.evaluate(DRAWN)
    assert set().union(*(overlapping(boxes, titles) for boxes in drawn)) == page.overlaps() == set()
    assert page.remarks(), "nodes have said something"
