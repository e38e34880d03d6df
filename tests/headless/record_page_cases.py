"""Records what ComfyUI's own page sends for every workflow of page_cases.json, the expectation of test_page.py.

Not a test. Copy fake_nodes.py into ComfyUI's custom_nodes, start ComfyUI, and with playwright installed:

    python tests/headless/record_page_cases.py http://127.0.0.1:8188 /usr/bin/chromium
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

CASES = Path(__file__).parent / "page_cases.json"
READY = "!!window.app?.graph && !!window.LiteGraph?.registered_node_types['FakeSampler']"
SEND = """async (workflow) => {
  await app.loadGraphData(workflow)
  await new Promise((done) => setTimeout(done, 300))
  return (await app.graphToPrompt()).output
}"""


def record(url: str, browser_path: str) -> None:
    """Write the page's output into every case, one case a line."""
    from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]

    cases = json.loads(CASES.read_text(encoding="utf-8"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(url, timeout=120_000)
        page.wait_for_function(READY, timeout=120_000)
        page.wait_for_timeout(3000)
        for case in cases.values():
            case["prompt"] = page.evaluate(SEND, case["workflow"])
        browser.close()
    lines = [f"{json.dumps(name)}: {json.dumps(case, ensure_ascii=False)}" for name, case in cases.items()]
    CASES.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of a running ComfyUI")
    parser.add_argument("browser", help="path of a Chromium")
    arguments = parser.parse_args()
    record(arguments.url, arguments.browser)
