"""Nodes 2.0, the page's newer way to draw nodes: the video plays and remarks are shown."""

from __future__ import annotations

import pytest

from opent2v.tests.browser.pages import Browser, workflow
from opent2v.tests.host.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.host]


def test_video_and_remarks_are_shown(browser: Browser, server: Server) -> None:
    with browser.open(server, "nodes2", **{"Comfy.VueNodes.Enabled": True}) as page:
        flow = workflow()
        sampler = next(node for node in flow["nodes"] if node["type"] == "OpenT2VSampler")
        sampler["widgets_values"][:2] = [20, "fixed"]
        page.load(flow)
        page.run(6)
        page.tab.wait_for_function("(id) => app.nodeOutputs[id]?.opent2v_remarks", arg=str(sampler["id"]))
        page.settle()
        page.screenshot("ran")
        assert page.remarks()[sampler["id"]].endswith("seed 20")
        assert page.tab.locator("video").first.evaluate("(one) => one.videoWidth") == 64
        values = {node["id"]: node.get("widgets_values") for node in flow["nodes"]}
        assert {node["id"]: node.get("widgets_values") or [] for node in page.saved()["nodes"]} == values
