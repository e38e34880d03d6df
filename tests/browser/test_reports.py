"""A node's report can be read whole, by mouse and by keyboard, however narrow its node: in both styles and both themes.

Tests: web/report.js, web/report_panel.js, web/remarks.js
"""

from __future__ import annotations

import itertools

import pytest

from opent2v.base.remarks import as_table, drawings, fits, lines, look, refused, steps_strip
from opent2v.tests.browser.pages import Browser, Page, workflow
from opent2v.tests.host.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.host]

LONG = "A remark that needs several lines on a narrow node, with a_name_that_has_no_place_to_break_" + "x" * 60
HEAD = ("run", "computed", "speed", "PSNR", "SSIM mean", "SSIM worst (frame)", "motion", "rhythm", "verdict")
ROW = ("12 of 20", "1.63 x", "31.2 dB", "0.981", "0.950 (7)", "98%", "0.99")
REPORT = [
    "20 steps, cfg 5, UniPCMultistep, seed 0",
    LONG,
    fits("112 of 112 match."),
    look("WARNING: by its name the file is for the other model."),
    refused("It does not fit. Choose a smaller model."),
    as_table(
        [HEAD, ("optimal 0.1", *ROW, "nearly identical"), ("optimal 0.4", *ROW, "a different video")],
        ["fits", "refused"],
    ),
    steps_strip("high noise positive: " + "CCrr" * 12, "CCrr" * 12, "high noise positive"),
    steps_strip("high noise negative: " + "Crrr" * 12, "Crrr" * 12, "high noise negative"),
    *(f"remark {number}" for number in range(20)),
]
SHOW = """([id, report]) => {
  const node = app.graph.getNodeById(id)
  const entries = report.map((entry) => JSON.stringify(entry))
  node.onExecuted({ opent2v_remarks: report.map(({ text }) => text), opent2v_report: entries })
}"""
# Texts below a place whose letters stand out too little from what is behind them: [text, ratio]. As WCAG 2 defines it.
FAINT = """(selector) => {
  const channel = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const rgba = (colour) => {
    pen.clearRect(0, 0, 1, 1)
    pen.fillStyle = colour
    pen.fillRect(0, 0, 1, 1)
    return [...pen.getImageData(0, 0, 1, 1).data].map((value) => value / 255)
  }
  const luminance = (colour) => {
    const [r, g, b] = rgba(colour).map(channel)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = (element) => {
    const { backgroundColor } = getComputedStyle(element)
    return rgba(backgroundColor)[3] === 1 ? backgroundColor : behind(element.parentElement)
  }
  const faint = []
  let count = 0
  for (const element of document.querySelectorAll(`${selector}, ${selector} *`)) {
    const texts = [...element.childNodes].filter(({ nodeType }) => nodeType === 3).map(({ data }) => data)
    const text = texts.join('').trim()
    if (!text || element.closest('title')) continue
    count += 1
    const [low, high] = [getComputedStyle(element).color, behind(element)].map(luminance).sort((a, b) => a - b)
    const ratio = (high + 0.05) / (low + 0.05)
    if (ratio < 4.5) faint.push([text, ratio])
  }
  return { count, faint }
}"""
# What is wider or higher than its place and cannot be scrolled to.
CUT = """() => [...document.querySelectorAll('.opent2v-panel *')]
  .filter((one) => one.scrollWidth > one.clientWidth + 1)
  .filter((one) => ['hidden', 'clip'].includes(getComputedStyle(one).overflowX))
  .filter((one) => !one.closest('svg'))
  .map((one) => one.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module", params=itertools.product(["classic", "nodes2"], ["dark", "light"]), ids="-".join)
def page(request, browser: Browser, server: Server):
    style, theme = request.param
    settings = {"Comfy.VueNodes.Enabled": style == "nodes2", "Comfy.ColorPalette": theme}
    with browser.open(server, f"reports-{style}-{theme}", **settings) as opened:
        flow = workflow()
        (node,) = (node for node in flow["nodes"] if node["type"] == "OpenT2VLoadModel")
        node |= {"pos": [100, 100], "size": [320, 400]}
        for slot in node["outputs"]:
            slot["links"] = []
        opened.load(flow | {"nodes": [node], "links": [], "groups": [], "extra": {}})
        opened.node = node["id"]
        yield opened


@pytest.fixture(autouse=True)
def shown(page: Page) -> None:
    page.tab.set_viewport_size({"width": 1600, "height": 900})
    page.tab.evaluate(SHOW, [page.node, drawings(REPORT)])
    page.settle()


def test_the_whole_report_is_reached_by_mouse_and_by_keyboard(page: Page) -> None:
    tab, panel = page.tab, page.tab.locator("dialog.opent2v-panel")
    page.screenshot("node")
    tab.locator(".opent2v-remarks > div").first.click(position={"x": 60, "y": 12})
    assert panel.is_visible()
    page.screenshot("panel")
    tab.keyboard.press("Delete")  # which deletes a chosen node, were it the graph's
    tab.keyboard.press("Escape")
    panel.wait_for(state="detached")
    assert len(page.saved()["nodes"]) == 1
    tab.locator(".opent2v-remarks > button").first.focus()
    tab.keyboard.press("Enter")
    assert panel.is_visible()
    shown = panel.inner_text()
    assert all(word in shown for line in lines(REPORT) for word in line.split(" | ") if "Cr" not in word)
    assert tab.evaluate("() => document.activeElement.closest('.opent2v-panel') !== null")
    body = panel.locator("> div")
    for _ in range(40):
        tab.keyboard.press("PageDown")
    tab.wait_for_timeout(300)
    assert body.evaluate("(one) => one.scrollTop + one.clientHeight >= one.scrollHeight - 1")
    tab.keyboard.press("Escape")
    panel.wait_for(state="detached")
    assert tab.evaluate("() => document.activeElement.matches('.opent2v-remarks > button')")


def test_letters_stand_out_and_nothing_is_cut_in_a_narrow_window(page: Page) -> None:
    tab = page.tab
    seen = tab.evaluate(FAINT, ".opent2v-remarks")
    assert seen["count"] > len(REPORT) and seen["faint"] == []
    tab.locator(".opent2v-remarks > button").first.focus()
    tab.keyboard.press("Enter")
    seen = tab.evaluate(FAINT, ".opent2v-panel")
    assert seen["count"] > len(REPORT) and seen["faint"] == []
    tab.set_viewport_size({"width": 320, "height": 700})
    page.settle()
    page.screenshot("narrow")
    assert tab.evaluate(CUT) == []
    left, right = tab.evaluate(
        "() => { const box = document.querySelector('.opent2v-panel').getBoundingClientRect();"
        " return [box.left, box.right] }"
    )
    assert left >= 0 and right <= 320
    tables = tab.locator(".opent2v-panel .scroller")
    assert tables.evaluate("(one) => getComputedStyle(one).overflowX === 'auto' && one.tabIndex === 0")
    tab.keyboard.press("Escape")
    tab.locator("dialog.opent2v-panel").wait_for(state="detached")


def test_strips_have_a_cell_for_each_step_and_the_text_is_copied(page: Page) -> None:
    tab = page.tab
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.locator(".opent2v-remarks > button").first.focus()
    tab.keyboard.press("Enter")
    strips = tab.locator(".opent2v-panel .strip svg")
    assert strips.count() == 2
    cells = strips.nth(1).locator("rect").evaluate_all("(cells) => cells.map((cell) => cell.getAttribute('class')[0])")
    assert "".join(cells) == "Crrr".lower() * 12
    assert strips.nth(1).get_attribute("aria-label") == "high noise negative 12 of 48 steps computed"
    tab.get_by_role("button", name="Copy as text").click()
    tab.get_by_role("button", name="Copied").wait_for()
    assert tab.evaluate("() => navigator.clipboard.readText()") == "\n".join(lines(REPORT))
    tab.locator("dialog.opent2v-panel").get_by_role("button", name="Close").click()
    tab.locator("dialog.opent2v-panel").wait_for(state="detached")


def test_a_refusal_stands_on_its_node(page: Page) -> None:
    page.tab.evaluate(
        """(id) => {
          const detail = {
            prompt_id: '1', node_id: String(id), node_type: 'OpenT2VLoadModel', exception_type: 'ModelFileError',
            exception_message: 'The file is cut short. Download it again.\\n', traceback: [], executed: [],
            current_inputs: {}, current_outputs: [],
          }
          window.comfyAPI.api.api.dispatchCustomEvent('execution_error', detail)
        }""",
        page.node,
    )
    page.settle()
    assert page.tab.locator(".opent2v-remarks p.refused").inner_text() == "The file is cut short. Download it again."
    page.screenshot("refused")
    page.tab.keyboard.press("Escape")
