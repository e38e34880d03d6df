"""What the page complains about is ComfyUI's own, and a complaint of ours would be heard."""

from __future__ import annotations

from pathlib import Path

import pytest

from opent2v.tests.browser.pages import DIALOG, NEWER_COMPLAINTS, OWN_COMPLAINTS, Browser, fits
from opent2v.tests.host.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.host]

# What every version complains about at each first start; the icon is asked for only once in a browser's life.
ALWAYS = {one for one in OWN_COMPLAINTS if one.startswith(("404 /user", "404 /api", "net::"))}


def test_a_comfyui_without_this_pack_has_the_same_complaints(
    browser: Browser, comfyui: Path, python: str, tmp_path: Path
) -> None:
    """The steps of the other tests, on core nodes: first start, a video node without a video, a node, its help."""
    with (
        Server(comfyui, python, tmp_path / "base", pack=False) as server,
        browser.open(server, "bare", **{"Comfy.TutorialCompleted": False}) as page,
    ):
        assert "OpenT2VSampler" not in server.get("/object_info")
        page.tab.locator(DIALOG).first.wait_for()
        page.reload()  # templates are offered at the first start only
        node = page.tab.evaluate(
            """() => {
              app.graph.clear()
              app.graph.add(LiteGraph.createNode('LoadVideo'))
              const node = LiteGraph.createNode('KSampler')
              node.pos = [600, 300]
              app.graph.add(node)
              return node.id
            }"""
        )
        page.settle()
        page.tab.mouse.click(*page.point(node, 80, -15))
        page.tab.get_by_test_id("info-button").first.click()
        page.tab.locator(".node-help-content h1, .node-help-content h2").first.wait_for()
        page.tab.wait_for_timeout(2000)
        page.screenshot("help")
        awaited = ALWAYS | (NEWER_COMPLAINTS.keys() if page.frontend >= (1, 49) else set())
        unheard = {own for own in awaited if not any(fits(one, own) for one in page.complaints)}
        assert not unheard, "what ComfyUI itself does not say is not excused either"


def test_a_complaint_that_is_not_comfyuis_own_fails(browser: Browser, server: Server) -> None:
    with pytest.raises(AssertionError, match="planted"), browser.open(server, "planted") as page:
        page.tab.evaluate("() => console.warn('planted')")
        page.settle()
    with (
        pytest.raises(AssertionError, match=r"404 /extensions/OpenT2V/none\.js"),
        browser.open(server, "planted") as page,
    ):
        page.tab.evaluate("() => fetch('/extensions/OpenT2V/none.js').then(() => undefined)")
        page.settle()
