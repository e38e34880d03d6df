"""Remarks of a node for the user: text on the node and in the run's result."""

from __future__ import annotations

import json
from typing import Any

from ..base.remarks import drawings, in_language, lines
from ..host import host

KEY = "opent2v_remarks"  # web/remarks.js reads it on the page, headless/outcome.py in a terminal
REPORT = "opent2v_report"  # the same remarks with their drawings, each as JSON, for web/remarks.js


def with_remarks(result: tuple[Any, ...], remarks: list[str], **ui: Any) -> dict[str, Any]:
    """A node's result with remarks shown on the node, in the host's language; further ui entries by name.

    No remarks are told as well: they take the last run's off the node. The class of such a node says
    HAS_INTERMEDIATE_OUTPUT, by which ComfyUI sends the remarks again when it has the result already: a page that was
    loaded anew does not know them (ComfyUI 0.19 and newer).

    Args:
        remarks: texts; a `base.remarks.Remark` is drawn as what it is.
    """
    remarks = in_language(remarks, host.language())
    # Texts, because ComfyUI's lists of jobs count each object as a file.
    report = [json.dumps(entry, ensure_ascii=False) for entry in drawings(remarks)]
    return {"ui": {**ui, KEY: lines(remarks), REPORT: report}, "result": result}
