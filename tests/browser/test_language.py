"""The nodes in Chinese: titles, names and what the page says where the mouse rests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.tests.browser.pages import CHINESE, Browser, Page
from opent2v.tests.host.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.host]

# Each node beside the next, and READ brings one into view: names, and where its sockets and widgets are, offsets from
# the node's corner.
PLACE = """(types) => {
  app.graph.clear()
  return types.map((type, index) => {
    const node = LiteGraph.createNode(type)
    node.pos = [index * 1000, 0]
    app.graph.add(node)
    return node.id
  })
}"""
READ = """(id) => {
  const node = app.graph.getNodeById(id)
  app.canvas.ds.offset = [300 - node.pos[0], 150]
  app.canvas.setDirty(true, true)
  const offset = ([x, y]) => [x - node.pos[0], y - node.pos[1]]
  const sockets = node.inputs.filter((one) => !one.widget)
  const drawn = (node.widgets ?? []).filter((one) => !one.element)
  return {
    title: node.title,
    names: {
      ...Object.fromEntries(node.inputs.map((one) => [one.name, one.localized_name])),
      ...Object.fromEntries((node.widgets ?? []).map((one) => [one.name, one.label]))
    },
    outputs: node.outputs.map((one) => one.localized_name),
    inputPlaces: {
      ...Object.fromEntries(sockets.map((one) => [one.name, offset(node.getInputPos(node.inputs.indexOf(one)))])),
      ...Object.fromEntries(drawn.map((one) => [one.name, [node.size[0] / 2, one.y + 10]]))
    },
    outputPlaces: node.outputs.map((_, index) => offset(node.getOutputPos(index)))
  }
}"""


@pytest.fixture(scope="module")
def nodes(browser: Browser, server: Server) -> Iterator[dict[str, dict[str, Any]]]:
    """What each node shows, by class, with "tips": what the page said over each place."""
    settings = {"Comfy.Locale": "zh", "LiteGraph.Node.TooltipDelay": 0}
    with browser.open(server, "chinese", **settings) as page:
        numbers = page.tab.evaluate(PLACE, list(NODE_CLASS_MAPPINGS))
        page.settle()
        found = {}
        for node, number in zip(NODE_CLASS_MAPPINGS, numbers, strict=True):
            shown = page.tab.evaluate(READ, number)
            page.settle()
            shown["tips"] = {name: _tip(page, number, *place) for name, place in shown["inputPlaces"].items()}
            shown["output tips"] = [_tip(page, number, *place) for place in shown["outputPlaces"]]
            found[node] = shown
        page.screenshot("nodes")
        yield found


def _tip(page: Page, node: int, dx: float, dy: float) -> str:
    x, y = page.point(node, dx, dy)
    page.tab.mouse.move(5, 450)
    page.tab.locator(".node-tooltip").wait_for(state="hidden")
    page.tab.mouse.move(x, y)
    page.tab.mouse.move(x + 1, y + 1)
    page.tab.locator(".node-tooltip").wait_for()
    return page.tab.locator(".node-tooltip").inner_text()


def test_titles_and_names_are_chinese(nodes: dict[str, dict[str, Any]]) -> None:
    for node, shown in nodes.items():
        expected = CHINESE[node]
        assert shown["title"] == expected["display_name"]
        names = {name: one["name"] for name, one in expected["inputs"].items()}
        assert {name: text for name, text in shown["names"].items() if name in names} == names
        assert shown["outputs"] == [one["name"] for one in expected["outputs"].values()]


def test_the_page_explains_inputs_and_outputs_in_chinese(nodes: dict[str, dict[str, Any]]) -> None:
    """All but text fields, for which both frontends show the node's own English, core's nodes included."""
    for node, shown in nodes.items():
        expected = CHINESE[node]
        tips = {name: one["tooltip"] for name, one in expected["inputs"].items() if "tooltip" in one}
        assert {name: tip for name, tip in shown["tips"].items() if name in tips} == {
            name: tip for name, tip in tips.items() if name in shown["tips"]
        }
        assert shown["output tips"] == [one["tooltip"] for one in expected["outputs"].values()]


def test_only_text_fields_are_left_out(nodes: dict[str, dict[str, Any]]) -> None:
    """The page says nothing over a field of several lines, which lies above the canvas."""
    unseen = {(node, name) for node in nodes for name in CHINESE[node]["inputs"] if name not in nodes[node]["tips"]}
    fields = set()
    for node in nodes:
        declared = NODE_CLASS_MAPPINGS[node].INPUT_TYPES()
        inputs = {**declared["required"], **declared.get("optional", {})}
        fields |= {(node, name) for name, (_, *options) in inputs.items() if options and options[0].get("multiline")}
    assert unseen == fields and len(fields) > 5
