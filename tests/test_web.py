"""What the page loads of the pack stays small.

Tests: web/
"""

from __future__ import annotations

from opent2v.scripts.pack import ROOT

LARGEST = 60_000  # bytes, of all scripts and styles


def test_the_page_loads_little() -> None:
    sizes = {path.name: path.stat().st_size for path in (ROOT / "web").rglob("*") if path.suffix in (".js", ".css")}
    assert {"remarks.js", "report.js", "report_panel.js"} <= set(sizes)
    assert sum(sizes.values()) < LARGEST
