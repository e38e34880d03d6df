"""What a save node shows of its file, in both styles: videos and pictures, whatever their name and the run before."""

from __future__ import annotations

from typing import Any

import pytest

from opent2v.tests.browser.pages import Browser, Page, workflow
from opent2v.tests.host.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.host]

# [tag, file name, width in pixels] of each picture and video on a node.
SHOWN = """(id) => {
  const node = app.graph.getNodeById(id), vue = document.querySelector(`[data-node-id="${id}"]`)
  const drawn = node.widgets.some(({ name }) => name === '$$canvas-image-preview') ? node.imgs : []
  const places = vue ? [vue] : node.widgets.map(({ element }) => element).filter(Boolean)
  return [...drawn, ...places.flatMap((one) => [...one.querySelectorAll('img, video')])].map((one) => [
    one.tagName.toLowerCase(),
    new URL(one.currentSrc || one.src).searchParams.get('filename'),
    one.naturalWidth || one.videoWidth
  ])
}"""
SET = """([id, values]) => {
  const { widgets } = app.graph.getNodeById(id)
  for (const [name, value] of Object.entries(values)) widgets.find((one) => one.name === name).value = value
}"""
# In this order, so that each kind follows another one.
FORMATS = {"gif": "img", "mp4 h264": "video", "webp": "img", "png sequence": "img", "webm vp9": "video"}


@pytest.fixture(params=[False, True], ids=["classic", "nodes2"])
def page(request, browser: Browser, server: Server):
    settings = {"Comfy.VueNodes.Enabled": request.param}
    with browser.open(server, f"saving-{'nodes2' if request.param else 'classic'}", **settings) as opened:
        flow = workflow()
        sampler = next(node for node in flow["nodes"] if node["type"] == "OpenT2VSampler")
        sampler["widgets_values"][:3] = [31, "fixed", 2]
        opened.load(flow)
        yield opened


def save_node(page: Page) -> int:
    return next(node["id"] for node in page.saved()["nodes"] if node["type"] == "OpenT2VSaveVideo")


def run(page: Page, node: int, **values: Any) -> dict[str, Any]:
    """The node's output after a run with these values."""
    page.tab.evaluate(SET, [node, values])
    before = set(page.server.get("/history"))
    page.tab.get_by_test_id("queue-button").first.click()
    for _ in range(600):
        found = {k: v for k, v in page.server.get("/history").items() if k not in before}
        if found:
            break
        page.tab.wait_for_timeout(200)
    (entry,) = found.values()
    assert entry["status"]["status_str"] == "success", entry["status"]
    return entry["outputs"][str(node)]


def test_each_file_is_shown_as_what_it_is(page: Page) -> None:
    node = save_node(page)
    for key, tag in FORMATS.items():
        prefix = "png webp %date:yyyy% %Video Sampler.seed%"  # the two words made the page take a video for a picture
        file = run(page, node, format=key, filename_prefix=prefix)["images"][0]["filename"]
        assert file.startswith("png webp 20") and " 31_000" in file  # the page has filled both in
        page.tab.wait_for_function(
            f"([id, file]) => ({SHOWN})(id).some(([, name, width]) => name === file && width)", arg=[node, file]
        )
        page.settle()
        page.screenshot(key.replace(" ", "_"))
        assert page.tab.evaluate(SHOWN, node) == [[tag, file, 64]], key
    assert [*run(page, node, format="mkv ffv1")] == ["video", "opent2v_remarks", "opent2v_report"]
    page.tab.wait_for_function("(id) => app.nodeOutputs[id]?.opent2v_remarks?.length === 2", arg=str(node))
    page.settle()
    assert page.tab.evaluate(SHOWN, node) == []  # not the file of the run before


def test_a_wrong_input_is_marked_alone_and_says_why(page: Page) -> None:
    node = save_node(page)
    page.tab.evaluate(SET, [node, {"preset": "warp"}])
    complaints = len(page.complaints)
    page.tab.get_by_test_id("queue-button").first.click()
    said = page.tab.get_by_text("preset is 'warp'; mp4 h264 has ultrafast")
    said.first.wait_for()
    page.settle()
    page.screenshot("refused")
    marked = "(id) => app.graph.getNodeById(id).inputs.filter((one) => one.hasErrors).map(({ name }) => name)"
    assert page.tab.evaluate(marked, node) == ["preset"]
    assert page.tab.evaluate("() => Object.values(app.lastNodeErrors).map(({ errors }) => errors.length)") == [1]
    del page.complaints[complaints:]  # the page logs that the server refused
