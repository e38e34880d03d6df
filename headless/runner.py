"""Runs a workflow without ComfyUI: what the output nodes need, in order, results freed as soon as nobody needs them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..host.embedded.files import Missing
from ..host.embedded.place import running
from .catalog import Catalog
from .graph import Graph, is_link, label
from .kept import Kept
from .lists import ListValue, call_arguments, joined
from .validation import execution_order, output_nodes, validate
from .values import checked


class NodeError(RuntimeError):
    """A node failed; the message names it, `__cause__` is what it raised."""

    def __init__(self, node_id: str, message: str) -> None:
        super().__init__(message)
        self.node_id = node_id


def run(
    graph: Graph,
    classes: Mapping[str, Any],
    *,
    extra_pnginfo: dict[str, Any] | None = None,
    on_node: Callable[[str, dict[str, Any] | None], None] | None = None,
    kept: Kept | None = None,
) -> dict[str, dict[str, Any]]:
    """Validate a workflow and run it.

    Args:
        extra_pnginfo: what save nodes store besides the prompt; {"workflow": ...} of the graph by default.
        on_node: called with a node's id and None when it starts, with its result when it ends.
        kept: results of the run before, of which this one takes over what fits.
    Returns:
        For every node that ran, in that order: "outputs" (a tuple; None once freed), "ui" (a dictionary), "seconds".
    Raises:
        WorkflowError: the workflow cannot run; nothing was run.
        NodeError: a node failed; later nodes were not run.
    """
    validate(graph, classes)
    catalog = Catalog(classes)
    if extra_pnginfo is None and graph.workflow is not None:
        extra_pnginfo = {"workflow": graph.workflow}
    hidden = {"PROMPT": graph.prompt(), "EXTRA_PNGINFO": extra_pnginfo}
    outputs = output_nodes(graph, catalog)
    order = execution_order(graph, outputs)
    awaited = Counter(source for node_id in order for source in _sources(graph, node_id))
    results: dict[str, dict[str, Any]] = {}
    if kept is not None:
        kept.begin(graph, catalog, order)
    for node_id in order:
        running(node_id)
        if on_node:
            on_node(node_id, None)
        result = None if kept is None else kept.get(node_id)
        if result is None:
            result = _run_node(node_id, graph, catalog, results, hidden)
            if kept is not None:
                kept.put(node_id, catalog.returns(graph[node_id]["class_type"]), result)
        results[node_id] = result
        for source in _sources(graph, node_id):
            awaited[source] -= 1
            if not awaited[source] and source not in outputs:
                results[source]["outputs"] = None
        if on_node:
            on_node(node_id, results[node_id])
    return results


def _run_node(
    node_id: str, graph: Graph, catalog: Catalog, results: dict[str, dict[str, Any]], hidden: dict[str, Any]
) -> dict[str, Any]:
    node = graph[node_id]
    kind = node["class_type"]
    node_class = catalog.classes[kind]
    inputs = catalog.inputs(kind)
    returns, lists = catalog.returns(kind), getattr(node_class, "OUTPUT_IS_LIST", ())
    arguments = {
        name: results[value[0]]["outputs"][value[1]] if is_link(value) else _plain(inputs[name], value)
        for name, value in node["inputs"].items()
    }
    for name, hidden_type in catalog.hidden(kind).items():
        arguments[name] = node_id if hidden_type == "UNIQUE_ID" else hidden.get(hidden_type)
    absent = next((part for value in arguments.values() for part in _each(value) if isinstance(part, Missing)), None)
    if absent is not None:
        raise NodeError(node_id, f"{label(node_id, node)} cannot run: {absent.message}")
    start = time.perf_counter()
    try:
        with torch.inference_mode():  # as ComfyUI runs its nodes
            takes_lists = getattr(node_class, "INPUT_IS_LIST", False)
            calls = call_arguments(arguments, takes_lists)
            instance = node_class()
            parts = [_parts(getattr(instance, node_class.FUNCTION)(**call), len(returns)) for call in calls]
        is_list = not takes_lists and any(isinstance(value, ListValue) for value in arguments.values())
        ui, values = joined(parts, len(returns), lists, is_list)
    except Exception as error:
        what = str(error) or type(error).__name__
        raise NodeError(node_id, f"{label(node_id, node)} failed: {what}") from error
    return {"outputs": values, "ui": ui, "seconds": time.perf_counter() - start}


def _each(value: Any) -> list[Any]:
    return [*value] if isinstance(value, ListValue) else [value]


def _parts(returned: Any, count: int) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """What a node returned, as (ui, outputs).

    Args:
        returned: a tuple, or {"ui": ..., "result": ...}, or None from a node without outputs.
        count: how many outputs the class declares.
    """
    ui: dict[str, Any] = {}
    if isinstance(returned, dict):
        ui, returned = returned.get("ui") or {}, returned.get("result")
    values = () if returned is None else tuple(returned) if isinstance(returned, (tuple, list)) else None
    if values is None or len(values) < count:
        description = type(returned).__name__ if values is None else f"{len(values)} values"
        raise TypeError(f"it returned {description}; expected a tuple of {count}, as its RETURN_TYPES say")
    return ui, values


def _plain(item: Any, value: Any) -> Any:
    # The class's own VALIDATE_INPUTS has passed already and may allow more than the options say.
    return checked(item, value, limits=False)


def _sources(graph: Graph, node_id: str) -> list[str]:
    return [value[0] for value in graph[node_id]["inputs"].values() if is_link(value)]
