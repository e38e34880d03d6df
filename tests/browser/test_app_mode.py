"""App mode, which shows a template as a form: what it asks for is there, and it runs at once."""

from __future__ import annotations

import pytest

from opent2v.tests.browser.pages import Browser, Page, workflow
from opent2v.tests.host.server import ROOT, Server

pytestmark = [pytest.mark.browser, pytest.mark.host]

NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


def _enter(page: Page) -> None:
    page.tab.get_by_role("button", name="Enter app mode").click()
    page.tab.get_by_test_id("linear-widgets").wait_for()
    page.settle()
    page.tab.keyboard.press("Escape")  # an introduction, the first time
    page.tab.get_by_test_id("coach-landing-overlay").wait_for(state="detached")


def test_each_template_asks_for_what_counts_and_the_quickstart_runs(browser: Browser, server: Server) -> None:
    with browser.open(server, "app") as page:
        if page.frontend < (1, 49):  # has no app mode yet, and must leave alone what it does not know
            page.load(workflow())
            assert page.saved()["extra"]["linearData"] == workflow()["extra"]["linearData"]
            return
        for name in NAMES:
            flow = workflow(name)
            page.open(flow)
            _enter(page)
            asked = page.tab.get_by_test_id("builder-widget-label").all_inner_texts()
            assert asked == [widget for _, widget in flow["extra"]["linearData"]["inputs"]]
            page.screenshot(name)
            page.tab.get_by_role("button", name="Enter node graph").click()
            page.tab.get_by_test_id("linear-widgets").wait_for(state="detached")
        page.open(workflow())
        _enter(page)
        (saving,) = workflow()["extra"]["linearData"]["outputs"]
        file = page.run(int(saving), page.tab.get_by_test_id("linear-run-button").get_by_role("button", name="Run"))
        page.screenshot("ran")
        page.tab.locator(".opent2v-reports").click()
        panel = page.tab.locator("dialog.opent2v-panel")
        titles = panel.locator("h3").all_inner_texts()
        assert {"Load Video Model", "Video Sampler"} <= set(titles)
        assert "20 steps" in panel.inner_text()
        page.screenshot("reports")
        page.tab.keyboard.press("Escape")
        panel.wait_for(state="detached")
        shown = page.tab.get_by_test_id("linear-outputs").locator("video").first
        assert f"filename={file}" in shown.get_attribute("src")
        assert shown.evaluate("(one) => [one.videoWidth, one.videoHeight]") == [64, 64]
        page.tab.get_by_role("button", name="Enter node graph").click()
        page.tab.locator(".opent2v-reports").wait_for(state="detached")
