"""Runs workflows without ComfyUI: what the output nodes need, in order.

Several graphs that differ in values only run side by side, node by node: weights are loaded once for all, and a node
that can serve several of them at once, such as Video Sampler, does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ..host.embedded.place import Interrupted, running
from .catalog import Catalog
from .graph import Graph, is_link
from .graph_run import GraphRun, NodeError
from .kept import Kept
from .lists import ListValue
from .validation import validate

__all__ = ["NodeError", "Side", "run", "run_together"]

OnNode = Callable[[str, dict[str, Any] | None], None]


class Side:
    """What is told and asked of graphs that run side by side; each by its number."""

    def turn(self, number: int) -> None:
        """A node of this graph runs now."""

    def is_wanted(self, number: int) -> bool:
        """Whether anybody waits for this graph still; asked before each of its nodes."""
        return True


def run(
    graph: Graph,
    classes: Mapping[str, Any],
    *,
    extra_pnginfo: dict[str, Any] | None = None,
    on_node: OnNode | None = None,
    kept: Kept | None = None,
) -> dict[str, dict[str, Any]]:
    """Validate a workflow and run it.

    Args:
        extra_pnginfo: what save nodes store besides the prompt; {"workflow": ...} of the graph by default.
        on_node: called with a node's id and None when it starts, with its result when it ends.
        kept: results of the run before, of which this one takes over what fits.
    Returns:
        As `GraphRun.results`.
    Raises:
        WorkflowError: the workflow cannot run; nothing was run.
        NodeError: a node failed; later nodes were not run.
    """
    (done,) = run_together([graph], classes, extra_pnginfo=extra_pnginfo, on_node=on_node, kept=kept)
    if done.error is not None:
        raise done.error
    return done.results


def run_together(
    graphs: Sequence[Graph],
    classes: Mapping[str, Any],
    *,
    extra_pnginfo: dict[str, Any] | None = None,
    on_node: OnNode | None = None,
    kept: Kept | None = None,
    side: Side | None = None,
) -> list[GraphRun]:
    """Validate graphs of one shape and run them side by side.

    A node whose class has a method called as its FUNCTION with "_together" behind it gets the arguments of all graphs
    at once; it returns what each call would have, or None where these calls do not fit together. They are called one
    after another then, and also where all at once fail.

    Args:
        on_node: called once for a node of all graphs; the result is the last one's, with the seconds of all.
    Returns:
        A run for each graph; `GraphRun.error` says what stopped it. One that nobody wants any more has neither.
    Raises:
        WorkflowError: a graph cannot run; nothing was run.
        ValueError: the graphs differ in more than values.
        NodeError: the run was interrupted.
    """
    for graph in graphs:
        validate(graph, classes)
    catalog, side = Catalog(classes), side or Side()
    runs = [GraphRun(graph, catalog, extra_pnginfo) for graph in graphs]
    if any(_shape(graph_run) != _shape(runs[0]) for graph_run in runs[1:]):
        raise ValueError("the graphs differ in more than values; expected one workflow with other values")
    if kept is not None:
        kept.begin(graphs, catalog, runs[0].order)
    for node_id in runs[0].order:
        running(node_id)
        if on_node:
            on_node(node_id, None)
        results = _run_node(node_id, runs, catalog, kept, side)
        if on_node and results:
            on_node(node_id, {**results[-1], "seconds": sum(result["seconds"] for result in results)})
    return runs


def _run_node(
    node_id: str, runs: Sequence[GraphRun], catalog: Catalog, kept: Kept | None, side: Side
) -> list[dict[str, Any]]:
    """Run a node of every graph that still goes on; returns the results."""
    results: list[dict[str, Any]] = []
    at_once = _at_once(node_id, runs, catalog, side)
    for number, graph_run in enumerate(runs):
        if not _goes_on(number, graph_run, side):
            continue
        side.turn(number)
        result = None if kept is None else kept.get(node_id, number)
        if result is None:
            try:
                result = at_once.get(number) or graph_run.run_node(node_id)
            except NodeError as error:
                if isinstance(error.__cause__, Interrupted) or len(runs) == 1:
                    raise
                graph_run.error = error
                continue
            if kept is not None:
                kept.put(node_id, catalog.returns(graph_run.graph[node_id]["class_type"]), result, number)
        graph_run.take(node_id, result)
        results.append(result)
    return results


def _goes_on(number: int, graph_run: GraphRun, side: Side) -> bool:
    graph_run.is_wanted = graph_run.is_wanted and side.is_wanted(number)
    return graph_run.is_wanted and graph_run.error is None


def _at_once(node_id: str, runs: Sequence[GraphRun], catalog: Catalog, side: Side) -> dict[int, dict[str, Any]]:
    """Number of a graph -> the node's result, where one call served several graphs; empty where none did."""
    node_class = catalog.classes[runs[0].graph[node_id]["class_type"]]
    together = getattr(node_class, f"{node_class.FUNCTION}_together", None)
    numbers = [number for number, graph_run in enumerate(runs) if _goes_on(number, graph_run, side)]
    if together is None or len(numbers) < 2:
        return {}
    side.turn(numbers[0])
    start = time.perf_counter()
    try:
        calls = [runs[number].arguments(node_id) for number in numbers]
        if any(isinstance(value, ListValue) for call in calls for value in call.values()):
            return {}
        with torch.inference_mode():
            returned = together(node_class(), calls)
    except Interrupted as error:
        raise NodeError(node_id, str(error)) from error
    except Exception as error:
        # Memory for all of them may be short, and each says for itself what is wrong with it.
        count = len(numbers)
        logging.info(f"{count} graphs do not run at once ({error}): they run one after another.")
        return {}
    if returned is None:
        return {}
    seconds = (time.perf_counter() - start) / len(numbers)
    return {
        number: {**runs[number].called(node_id, lambda part=part: [part]), "seconds": seconds}
        for number, part in zip(numbers, returned, strict=True)
    }


def _shape(graph_run: GraphRun) -> list[Any]:
    """The nodes that run, with their classes and links."""
    return [
        (
            node_id,
            graph_run.graph[node_id]["class_type"],
            {name: value for name, value in graph_run.graph[node_id]["inputs"].items() if is_link(value)},
        )
        for node_id in graph_run.order
    ]
