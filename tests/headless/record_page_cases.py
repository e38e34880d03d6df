"""Records what ComfyUI's own page sends for every workflow of page_cases.json, the expectation of test_page.py.

Not a test. Copy fake_nodes.py into ComfyUI's custom_nodes, start ComfyUI, and with playwright installed:

    python tests/headless/record_page_cases.py http://127.0.0.1:8188 /usr/bin/chromium
"""

from __future__ import annotations

import json
from pathlib import Path

from recording import arguments, opened_page  # pyright: ignore[reportMissingImports]

CASES = Path(__file__).parent / "page_cases.json"
READY = "!!window.app?.graph && !!window.LiteGraph?.registered_node_types['FakeSampler']"
SEND = """async (workflow) => {
  await app.loadGraphData(workflow)
  await new Promise((done) => setTimeout(done, 300))
  return (await app.graphToPrompt()).output
}"""


def record(url: str, browser_path: str) -> None:
    """Write the page's output into every case, one case a line."""
    cases = json.loads(CASES.read_text(encoding="utf-8"))
    with opened_page(url, browser_path, READY) as page:
        for case in cases.values():
            case["prompt"] = page.evaluate(SEND, case["workflow"])
    lines = [f"{json.dumps(name)}: {json.dumps(case, ensure_ascii=False)}" for name, case in cases.items()]
    CASES.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    options = arguments(__doc__)
    record(options.url, options.browser)
