"""One graph while it runs: what its nodes gave so far, freed as soon as nobody needs it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..host.embedded.files import Missing
from .catalog import Catalog
from .graph import Graph, is_link, label
from .lists import ListValue, call_arguments, joined
from .validation import execution_order, output_nodes
from .values import checked


class NodeError(RuntimeError):
    """A node failed; the message names it, `__cause__` is what it raised."""

    def __init__(self, node_id: str, message: str) -> None:
        super().__init__(message)
        self.node_id = node_id


class GraphRun:
    """
    Args:
        extra_pnginfo: what save nodes store besides the prompt; {"workflow": ...} of the graph by default.
    Attributes:
        order: the nodes to run, each behind its sources.
        results: for every node that ran, in that order: "outputs" (a tuple; None once freed), "ui" (a dictionary),
            "seconds".
        error: what stopped it; None: nothing did.
        is_wanted: somebody waits for it; nothing of it runs any more once nobody does.
    """

    def __init__(self, graph: Graph, catalog: Catalog, extra_pnginfo: dict[str, Any] | None = None) -> None:
        if extra_pnginfo is None and graph.workflow is not None:
            extra_pnginfo = {"workflow": graph.workflow}
        self.graph, self._catalog = graph, catalog
        self._hidden = {"PROMPT": graph.prompt(), "EXTRA_PNGINFO": extra_pnginfo}
        self._outputs = output_nodes(graph, catalog)
        self.order = execution_order(graph, self._outputs)
        self._awaited = Counter(source for node_id in self.order for source in self._sources(node_id))
        self.results: dict[str, dict[str, Any]] = {}
        self.error: Exception | None = None
        self.is_wanted = True

    def arguments(self, node_id: str) -> dict[str, Any]:
        """What the node is called with.

        Raises:
            NodeError: a source gave nothing; the message says why.
        """
        node = self.graph[node_id]
        inputs = self._catalog.inputs(node["class_type"])
        arguments = {
            name: self.results[value[0]]["outputs"][value[1]] if is_link(value) else _plain(inputs[name], value)
            for name, value in node["inputs"].items()
        }
        for name, hidden_type in self._catalog.hidden(node["class_type"]).items():
            arguments[name] = node_id if hidden_type == "UNIQUE_ID" else self._hidden.get(hidden_type)
        absent = next(
            (part for value in arguments.values() for part in _each(value) if isinstance(part, Missing)), None
        )
        if absent is not None:
            raise NodeError(node_id, f"{label(node_id, node)} cannot run: {absent.message}")
        return arguments

    def run_node(self, node_id: str) -> dict[str, Any]:
        """The node's result.

        Raises:
            NodeError: it failed.
        """
        node_class = self._catalog.classes[self.graph[node_id]["class_type"]]
        arguments = self.arguments(node_id)
        takes_lists = getattr(node_class, "INPUT_IS_LIST", False)

        def call() -> list[Any]:
            instance = node_class()
            calls = call_arguments(arguments, takes_lists)
            return [getattr(instance, node_class.FUNCTION)(**values) for values in calls]

        is_list = not takes_lists and any(isinstance(value, ListValue) for value in arguments.values())
        return self.called(node_id, call, is_list)

    def called(self, node_id: str, call: Callable[[], Sequence[Any]], is_list: bool = False) -> dict[str, Any]:
        """The result of a node from what its calls return.

        Raises:
            NodeError: it failed.
        """
        node = self.graph[node_id]
        node_class, returns = self._catalog.classes[node["class_type"]], self._catalog.returns(node["class_type"])
        start = time.perf_counter()
        try:
            with torch.inference_mode():  # as ComfyUI runs its nodes
                parts = [_parts(returned, len(returns)) for returned in call()]
            ui, values = joined(parts, len(returns), getattr(node_class, "OUTPUT_IS_LIST", ()), is_list)
        except Exception as error:
            what = str(error) or type(error).__name__
            raise NodeError(node_id, f"{label(node_id, node)} failed: {what}") from error
        return {"outputs": values, "ui": ui, "seconds": time.perf_counter() - start}

    def take(self, node_id: str, result: dict[str, Any]) -> None:
        """Take a node's result, and let go of what nobody needs any more."""
        self.results[node_id] = result
        for source in self._sources(node_id):
            self._awaited[source] -= 1
            if not self._awaited[source] and source not in self._outputs:
                self.results[source]["outputs"] = None

    def _sources(self, node_id: str) -> list[str]:
        return [value[0] for value in self.graph[node_id]["inputs"].values() if is_link(value)]


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
