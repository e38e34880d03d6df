"""Help pages as the page shows them: select a node, press its information button."""

from __future__ import annotations

import re

import pytest

from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.tests.browser.pages import Browser, Page
from opent2v.tests.host.server import ROOT, Server

pytestmark = [pytest.mark.browser, pytest.mark.host]

PARTS = {"en": ("Inputs", "Outputs", "Common mistakes"), "zh": ("输入", "输出", "常见错误")}
PLACE_ALONE = """(type) => {
  app.graph.clear()
  const node = LiteGraph.createNode(type)
  node.pos = [700, 300]
  app.graph.add(node)
  return node.id
}"""


def help_of(page: Page, node: str, language: str) -> str:
    """Show a node's help and return the text of the panel."""
    file = ROOT / "web" / "docs" / (f"{node}.md" if language == "en" else f"{node}/{language}.md")
    title = file.read_text(encoding="utf-8").partition("\n")[0].strip("# ")
    number = page.tab.evaluate(PLACE_ALONE, node)
    page.settle()
    page.tab.mouse.click(*page.point(number, 60, -15))
    page.tab.get_by_test_id("info-button").first.click()
    panel = page.tab.locator(".node-help-content")
    panel.get_by_role("heading", name=title, exact=True).first.wait_for()
    page.screenshot(node)
    return panel.inner_text()


@pytest.fixture(scope="module", params=["en", "zh"])
def helps(request, browser: Browser, server: Server) -> tuple[str, dict[str, str]]:
    """A language, and what the panel says in it, by node."""
    with browser.open(server, f"help-{request.param}", **{"Comfy.Locale": request.param}) as page:
        # The page asks for the language's own file first and takes <node>.md, which is the English one, without.
        page.expected |= {f"404 /extensions/OpenT2V/docs/{node}/en.md" for node in NODE_CLASS_MAPPINGS}
        # Frontend 1.49 asks the registry which pack a node is of; nothing leaves the machine here.
        page.expected.add("net::ERR_NAME_NOT_RESOLVED https://api.comfy.org/comfy-nodes/…")
        return request.param, {node: help_of(page, node, request.param) for node in NODE_CLASS_MAPPINGS}


def test_every_node_opens_its_help_page(helps: tuple[str, dict[str, str]]) -> None:
    language, shown = helps
    for node, text in shown.items():
        assert NODE_DISPLAY_NAME_MAPPINGS[node] in text
        assert all(part in text for part in PARTS[language]), text
        as_written = re.search(r"^\s*[#|]", text, re.MULTILINE)
        assert not as_written, f"{node}: the panel shows Markdown as it was written"
