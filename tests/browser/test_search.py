"""The page's search finds the nodes by what they are for, in English and Chinese."""

from __future__ import annotations

import pytest

from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.tests.browser.pages import CHINESE, Browser, Page
from opent2v.tests.host.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.host]

# What a user writes -> the node that is meant.
WORDS = {
    "en": {
        "text to video": "OpenT2VSampler",
        "image to video": "OpenT2VImageToVideo",
        "video to video": "OpenT2VEncodeVideo",
        "video lora": "OpenT2VLoadLora",
        "save video": "OpenT2VSaveVideo",
        "load video": "OpenT2VLoadVideo",
        "easycache": "OpenT2VStepCache",
    },
    "zh": {
        "文生视频": "OpenT2VSampler",
        "图生视频": "OpenT2VImageToVideo",
        "视频转视频": "OpenT2VEncodeVideo",
        "视频 lora": "OpenT2VLoadLora",
        "保存视频": "OpenT2VSaveVideo",
        "加载视频": "OpenT2VLoadVideo",
        "text to video": "OpenT2VSampler",
    },
}
# Found by a node's own name; aliases count from frontend 1.36 on.
BY_NAME = ("image to video", "video to video", "video lora", "save video", "load video")
BY_CHINESE_NAME = ("图生视频", "视频 lora", "保存视频", "加载视频")
SEARCH = "[role=dialog] input, .comfy-vue-node-search-container input"
RESULTS = "[data-testid=result-item], .p-autocomplete-option"


def results(page: Page, words: str) -> list[str]:
    """The list that the page shows for words, from above."""
    page.tab.locator(SEARCH).first.fill(words)
    page.tab.wait_for_timeout(1000)
    return page.tab.locator(RESULTS).all_inner_texts()


@pytest.mark.parametrize("language", WORDS)
def test_what_a_user_writes_finds_the_node(browser: Browser, server: Server, language: str) -> None:
    with browser.open(server, f"search-{language}", **{"Comfy.Locale": language}) as page:
        page.tab.evaluate("() => app.graph.clear()")
        page.settle()
        page.tab.mouse.dblclick(700, 600)
        page.settle()
        has_aliases = page.frontend >= (1, 36)
        missing = {}
        for words, node in WORDS[language].items():
            if not has_aliases and words not in (*BY_NAME, *BY_CHINESE_NAME):
                continue
            title = CHINESE[node]["display_name"] if language == "zh" else NODE_DISPLAY_NAME_MAPPINGS[node]
            found = results(page, words)
            page.screenshot(node)
            if not any(title in one for one in found):
                missing[words] = found[:10]
        assert missing == {}


def test_aliases_are_in_both_languages() -> None:
    for node, cls in NODE_CLASS_MAPPINGS.items():
        aliases = cls.SEARCH_ALIASES
        assert len(set(aliases)) == len(aliases), node
