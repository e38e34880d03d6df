"""What a run of a workflow leaves behind, on either host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .graph import Graph


@dataclass
class Outcome:
    """What a run left behind.

    Attributes:
        remarks: what nodes had to say, "title: text".
        files: what was saved; the folder of numbered pictures.
        values: the inputs of every node that have values, by class: {"OpenT2VSampler": {"seed": 7, ...}}.
    """

    remarks: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    values: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph, results: Mapping[str, dict[str, Any]], folder: Path) -> Outcome:
        """Collect from the "ui" part of every node's result; files lie below `folder`."""
        outcome = cls()
        for node_id, node in graph.items():
            outcome.values.setdefault(node["class_type"], node["inputs"])
            ui = results.get(node_id, {})
            outcome.remarks += [f"{node['title']}: {text}" for text in ui.get("opent2v_remarks", ())]
            saved = [
                folder / file["subfolder"] / file["filename"]
                for file in (*ui.get("images", ()), *ui.get("video", ()))
                if file.get("type") == "output"
            ]
            # Numbered pictures have a folder of their own.
            outcome.files += saved if len(saved) < 2 else [saved[0].parent]
        return outcome
