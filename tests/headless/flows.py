"""What the tests of this room share: a small workflow of the fake nodes, in both formats."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from opent2v.headless.graph import Graph
from opent2v.headless.workflow import load_workflow
from opent2v.tests.headless.fake_nodes import CLASSES, TITLES

CASES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "page_cases.json").read_text(encoding="utf-8"))

_API = {
    "1": {"class_type": "FakeLoad", "inputs": {"name": "first", "dtype": "auto"}},
    "2": {"class_type": "FakeText", "inputs": {"clip": ["1", 1], "text": "a circle"}, "_meta": {"title": "Prompt"}},
    "3": {
        "class_type": "FakeSampler",
        "inputs": {"model": ["1", 0], "positive": ["2", 0], "seed": 1, "steps": 20, "cfg": 4.0, "solver": "euler"},
    },
    "4": {"class_type": "FakeSave", "inputs": {"latent": ["3", 0], "prefix": "out"}},
}


def api(**changes: dict[str, Any]) -> dict[str, Any]:
    """The workflow in API format; `n3={"steps": 5}` changes inputs of node 3, None removes one."""
    flow = copy.deepcopy(_API)
    for node, inputs in changes.items():
        target = flow[node[1:]]["inputs"]
        target.update(inputs)
        for name in [name for name, value in inputs.items() if value is None]:
            del target[name]
    return flow


def page(name: str = "plain") -> dict[str, Any]:
    """A recorded case's workflow in the page's format."""
    return copy.deepcopy(CASES[name]["workflow"])


def load(flow: dict[str, Any] | str) -> Graph:
    return load_workflow(flow, CLASSES, TITLES)
