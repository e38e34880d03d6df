"""Remarks take the room there is on a node and scroll in less, in both styles; they outlive a reload."""

from __future__ import annotations

import pytest

from opent2v.tests.browser.pages import Browser, Page, workflow
from opent2v.tests.host.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.host]

SAY = """([id, lines]) => {
  const node = app.graph.getNodeById(id)
  node.onExecuted({ opent2v_remarks: Array.from({ length: lines }, (_, i) => `remark ${i}`) })
}"""
# The text's place on the screen in pixels of the graph, all of the text, and the node's height.
SEEN = """(id) => {
  const node = app.graph.getNodeById(id)
  const text = node.widgets.find(({ name }) => name === 'opent2v_remarks').element.firstElementChild
  return { shown: text.clientHeight, all: text.scrollHeight, node: node.size[1] }
}"""
GROW = """([id, by]) => {
  const node = app.graph.getNodeById(id)
  node.setSize([node.size[0], node.size[1] + by])
  node.setDirtyCanvas(true, true)
}"""
LINE, PADDING = 15, 8


@pytest.fixture(params=[False, True], ids=["classic", "nodes2"])
def page(request, browser: Browser, server: Server):
    settings = {"Comfy.VueNodes.Enabled": request.param}
    with browser.open(server, f"remarks-{'nodes2' if request.param else 'classic'}", **settings) as opened:
        flow = workflow()
        flow["nodes"] = [node for node in flow["nodes"] if node["type"] in ("OpenT2VLoadModel", "OpenT2VDecode")]
        for number, node in enumerate(flow["nodes"]):
            node["pos"] = [100 + 400 * number, 100]
            for slot in node.get("inputs", []):
                slot["link"] = None
            for slot in node.get("outputs", []):
                slot["links"] = []
        opened.load(flow | {"links": [], "groups": [], "extra": {}})
        yield opened


def test_longer_text_takes_what_room_is_there_and_scrolls_in_less(page: Page) -> None:
    node = next(one["id"] for one in page.saved()["nodes"] if one["type"] == "OpenT2VLoadModel")
    page.tab.evaluate(SAY, [node, 20])
    page.settle()
    page.screenshot("narrow")
    narrow = page.tab.evaluate(SEEN, node)
    assert 5 * LINE <= narrow["shown"] < narrow["all"] == 20 * LINE + 2 * PADDING
    page.tab.evaluate(GROW, [node, 400])
    page.settle()
    page.screenshot("wide")
    wide = page.tab.evaluate(SEEN, node)
    assert wide["node"] == narrow["node"] + 400  # the text asks for no more
    if page.frontend < (1, 36) and page.tab.evaluate("() => LiteGraph.vueNodesMode"):
        assert wide["shown"] == narrow["shown"]  # Nodes 2.0 gave no widget of a pack the room there is
    else:
        assert wide["shown"] == wide["all"] >= narrow["all"]
    page.tab.evaluate(SAY, [node, 0])
    page.settle()
    gone = page.tab.evaluate(SEEN, node)
    assert gone["shown"] == 0


def test_remarks_are_no_parameter_of_the_node(page: Page) -> None:
    hidden = page.tab.evaluate(
        """() => app.graph.nodes.map(({ widgets }) =>
             widgets.find(({ name }) => name === 'opent2v_remarks').options.hideInPanel)"""
    )
    assert hidden == [True, True]
    if page.frontend < (1, 36):
        return  # no list of parameters there
    page.tab.evaluate("() => app.canvas.selectItems(app.graph.nodes)")
    page.tab.evaluate("() => app.extensionManager.setting.set('Comfy.RightSidePanel.IsOpen', true)")
    page.settle()
    page.screenshot("panel")
    assert page.tab.get_by_text("opent2v_remarks").count() == 0


def test_remarks_come_again_after_a_reload(browser: Browser, server: Server) -> None:
    with browser.open(server, "remarks-reload") as page:
        flow = workflow()
        sampler = next(node for node in flow["nodes"] if node["type"] == "OpenT2VSampler")
        sampler["widgets_values"][:3] = [32, "fixed", 2]
        save = next(node["id"] for node in flow["nodes"] if node["type"] == "OpenT2VSaveVideo")
        page.load(flow)
        page.run(save)
        page.settle()
        before = page.remarks()
        assert sampler["id"] in before
        page.reload()
        page.load(flow)
        assert page.remarks() == {}
        history = len(server.get("/history"))
        page.tab.get_by_test_id("queue-button").first.click()
        for _ in range(100):
            if len(server.get("/history")) > history:
                break
            page.tab.wait_for_timeout(200)
        page.settle()
        page.screenshot("again")
        if tuple(map(int, page.version.split(".")[:2])) >= (0, 19):
            assert page.remarks() == before
        else:  # an older ComfyUI sends only what output nodes have to say
            assert page.remarks().items() <= before.items()
