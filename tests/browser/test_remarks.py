"""Remarks take the room there is on a node, and no more of the page than a few lines where there is none."""

from __future__ import annotations

import pytest

from opent2v.tests.browser.pages import workflow

pytestmark = [pytest.mark.browser, pytest.mark.host]

SAY = """(id) => {
  const node = app.graph.getNodeById(id)
  node.widgets.find(({ name }) => name === 'opent2v_remarks').value =
    Array.from({ length: 9 }, (_, i) => `remark ${i}`).join('\\n')
  node.setDirtyCanvas(true, true)
}"""
SEEN = """(id) => {
  const node = app.graph.getNodeById(id)
  const { element } = node.widgets.find(({ name }) => name === 'opent2v_remarks')
  return { shown: element.clientHeight, all: element.scrollHeight, node: node.size[1] }
}"""
GROW = "(id) => app.graph.getNodeById(id).setSize([...app.graph.getNodeById(id).size].map((v, i) => v + i * 200))"


def test_longer_text_takes_what_room_is_there_and_scrolls_in_less(browser, server):
    flow = workflow("lora")
    node = next(one["id"] for one in flow["nodes"] if one["type"] == "OpenT2VLoadModel")
    with browser.open(server, "remarks") as page:
        page.load(flow)
        page.tab.evaluate(SAY, node)
        page.settle()
        narrow = page.tab.evaluate(SEEN, node)
        page.tab.evaluate(GROW, node)
        page.settle()
        wide = page.tab.evaluate(SEEN, node)
        page.screenshot("wide")
    assert 0 < narrow["shown"] < narrow["all"]
    assert wide["shown"] == wide["all"] == narrow["all"] > 9 * 15
    assert wide["node"] == narrow["node"] + 200
