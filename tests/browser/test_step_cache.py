"""The step cache's template in the page: what is planned shows while the sampler runs, what was done afterwards."""

from __future__ import annotations

import re

import pytest

from opent2v.tests.browser.pages import workflow

pytestmark = [pytest.mark.browser, pytest.mark.host]

SAID = """(id) => app.graph.getNodeById(id).widgets.find(({ name }) => name === 'opent2v_remarks').value"""


def test_the_plan_shows_before_and_the_report_after(browser, server):
    flow = workflow("step_cache")
    node = {one["type"]: one["id"] for one in flow["nodes"]}
    with browser.open(server, "step_cache") as page:
        page.load(flow)
        # Kept by the page, as the plan stands there for a moment only.
        page.tab.evaluate(
            f"""(id) => {{ window.seen = new Set(); setInterval(() => window.seen.add(({SAID})(id)), 5) }}""",
            node["OpenT2VSampler"],
        )
        page.run(node["OpenT2VDecodeToVideo"])
        page.screenshot("done")
        seen = "\n".join(page.tab.evaluate("() => [...window.seen]"))
        remarks = page.remarks()
        sizes = {one["id"]: one["size"] for one in flow["nodes"]}
        assert {one["id"]: one["size"] for one in page.saved()["nodes"]} == sizes
    (plan,) = re.findall(r"Plan: ([Cr]{20}) \(\d+ of 20 steps computed, about 2\.\d+ x\)", seen)
    assert f"\n{plan}\n" in remarks[node["OpenT2VSampler"]]
    assert "Saved as " in remarks[node["OpenT2VCalibrateCache"]]
    assert "| verdict" in remarks[node["OpenT2VCompareCache"]]
