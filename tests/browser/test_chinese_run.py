"""A run on a Chinese page: remarks, a refusal before it and an error in it, none with a sentence in English."""

from __future__ import annotations

import re

import pytest

from opent2v.tests.browser.pages import Browser, Page, workflow
from opent2v.tests.host.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.host]

# Three English words after one another, that are no names, prompts or settings.
SENTENCE = re.compile(r"\b[A-Za-z]?[a-z]{2,} [a-z]{2,} [a-z]{2,}\b")


@pytest.fixture
def page(browser: Browser, server: Server):
    with browser.open(server, "chinese-run", **{"Comfy.Locale": "zh"}) as opened:
        yield opened
    server.post("/settings", {"Comfy.Locale": "en", "OpenT2V.Language": "en"})


def _node(page: Page, kind: str) -> int:
    return next(node["id"] for node in page.saved()["nodes"] if node["type"] == kind)


def _set(page: Page, kind: str, name: str, value: object) -> None:
    page.tab.evaluate(
        """([id, name, value]) => {
          app.graph.getNodeById(id).widgets.find((widget) => widget.name === name).value = value
        }""",
        [_node(page, kind), name, value],
    )


def test_what_a_run_says_is_chinese(page: Page, server: Server) -> None:
    server.post("/free", {"free_memory": True})  # or what these nodes said in English before would be shown again
    page.load(workflow("lora"))
    page.run(_node(page, "OpenT2VDecodeToVideo"))
    remarks = page.remarks()
    page.screenshot("remarks")
    assert len(remarks) >= 4
    for text in remarks.values():
        assert re.search(r"[\u4e00-\u9fff]", text), text
        assert not SENTENCE.search(text.replace("blurry, noisy, flicker", "")), text


def test_an_error_in_a_run_is_chinese_and_the_log_has_its_english(page: Page, server: Server) -> None:
    page.load(workflow())
    _set(page, "OpenT2VSampler", "denoise", 0.01)
    _set(page, "OpenT2VSampler", "steps", 900)
    page.tab.get_by_test_id("queue-button").first.click()
    for _ in range(300):
        page.tab.wait_for_timeout(200)
        if history := list(server.get("/history").values()):
            said = dict(history[-1]["status"]["messages"]).get("execution_error", {}).get("exception_message", "")
            if said:
                break
    page.screenshot("error")
    assert re.search(r"[\u4e00-\u9fff]", said) and not SENTENCE.search(said), said
