"""A workflow as the runner sees it: nodes, the values of their inputs and the links between them."""

from __future__ import annotations

from typing import Any, TypedDict


class WorkflowError(ValueError):
    """A workflow that cannot run; the message lists every problem found, each with its node."""


class GraphNode(TypedDict):
    """One node: `inputs` maps a name to a value, or to a link `[node id, output slot]`."""

    class_type: str
    inputs: dict[str, Any]
    title: str


class Graph(dict[str, GraphNode]):
    """The nodes by id, in ComfyUI's API format, plus what messages and metadata need.

    Attributes:
        workflow: the page's own format, when the graph came from it; saved files carry it for the page to restore.
        problems: faults of the file itself, found while reading; `validate` reports them with everything else.
        packs: node id -> the pack that the file says a node belongs to ("comfy-core" for ComfyUI's own).
    """

    def __init__(self, nodes: dict[str, GraphNode] | None = None, workflow: dict[str, Any] | None = None) -> None:
        super().__init__(nodes or {})
        self.workflow = workflow
        self.problems: list[str] = []
        self.packs: dict[str, str] = {}

    def prompt(self) -> dict[str, dict[str, Any]]:
        """The graph as ComfyUI's page sends it to the server, and as it is stored in saved files."""
        return {
            node_id: {
                "inputs": {name: list(value) if is_link(value) else value for name, value in node["inputs"].items()},
                "class_type": node["class_type"],
                "_meta": {"title": node["title"]},
            }
            for node_id, node in self.items()
        }


def is_link(value: object) -> bool:
    """Whether an input's value is a link: every list is one; list values come wrapped as {"__value__": [...]}."""
    return isinstance(value, list)


def label(node_id: str, node: GraphNode) -> str:
    """How messages name a node.

    >>> label("4", {"class_type": "OpenT2VSampler", "inputs": {}, "title": "Sampler"})
    'node 4 "Sampler" (OpenT2VSampler)'
    >>> label("4", {"class_type": "OpenT2VSampler", "inputs": {}, "title": "OpenT2VSampler"})
    'node 4 (OpenT2VSampler)'
    """
    title = f' "{node["title"]}"' if node["title"] and node["title"] != node["class_type"] else ""
    return f"node {node_id}{title} ({node['class_type']})"
