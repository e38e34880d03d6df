"""Reads a workflow, in the format that ComfyUI's page saves or in its API format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .catalog import Catalog
from .graph import Graph, WorkflowError
from .page import Page
from .validation import validate

__all__ = ["Graph", "WorkflowError", "api_graph", "is_page", "load_workflow", "read_json", "validate"]


def load_workflow(
    source: str | dict[str, Any], classes: Mapping[str, Any], titles: Mapping[str, str] | None = None
) -> Graph:
    """A workflow ready to be validated and run.

    Args:
        source: the text of a workflow file, or what it says as a dictionary.
        classes: NODE_CLASS_MAPPINGS; needed because the page saves widget values by position.
        titles: NODE_DISPLAY_NAME_MAPPINGS; what messages call a node that has no title of its own.
    Raises:
        WorkflowError: not a workflow, or one with group nodes, which only ComfyUI's page can unfold.
    """
    catalog = Catalog(classes, titles or {})
    data = read_json(source) if isinstance(source, str) else source
    if is_page(data):
        return Page(data, catalog).graph()
    return api_graph(data, catalog)


def read_json(text: str) -> dict[str, Any]:
    """The text of a workflow file as a dictionary; a prompt as posted to the server ({"prompt": ...}) is unwrapped."""
    try:
        data = json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise WorkflowError(
            f"this file is not JSON (line {error.lineno}: {error.msg}); expected a workflow saved by ComfyUI"
        ) from error
    except RecursionError:
        raise WorkflowError(
            "this file nests its values too deeply to be a workflow; expected one saved by ComfyUI"
        ) from None
    if not isinstance(data, dict):
        raise WorkflowError(f"this file holds {type(data).__name__} data; expected a workflow saved by ComfyUI")
    wrapped = data.get("prompt")
    return wrapped if isinstance(wrapped, dict) and "nodes" not in data and "class_type" not in wrapped else data


def is_page(data: dict[str, Any]) -> bool:
    """Whether this is the page's format rather than the API's."""
    return isinstance(data.get("nodes"), list)


def api_graph(data: dict[str, Any], catalog: Catalog) -> Graph:
    """The nodes of a workflow in API format."""
    graph = Graph()
    for node_id, node in data.items():
        if (
            not isinstance(node, dict)
            or not isinstance(node.get("class_type"), str)
            or not isinstance(node.get("inputs", {}), dict)
        ):
            raise WorkflowError(
                f"this is no workflow: entry {str(node_id)[:40]!r} is no node (expected class_type and inputs). "
                "Expected a file from ComfyUI's 'Save' or 'Export (API)'."
            )
        meta = node.get("_meta")
        title = meta.get("title") if isinstance(meta, dict) else None
        inputs = {
            name: [str(value[0]), value[1]] if isinstance(value, list) and len(value) == 2 else value
            for name, value in node.get("inputs", {}).items()
        }
        kind = node["class_type"]
        graph[str(node_id)] = {"class_type": kind, "inputs": inputs, "title": str(title or catalog.title(kind))}
    if not graph:
        raise WorkflowError("this workflow is empty; expected a file from ComfyUI's 'Save' or 'Export (API)'")
    return graph
