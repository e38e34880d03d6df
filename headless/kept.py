"""Keeps what loaders and text encoders gave from one run to the next, as ComfyUI's server does."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from typing import Any

from .catalog import Catalog
from .graph import Graph, is_link

WEIGHTS = frozenset({"MODEL", "CLIP", "VAE", "CLIP_VISION"})
_TYPES = WEIGHTS | {"CONDITIONING"}


class Kept:
    """Results of the last run that the next one may take over.

    A node's result is taken over where its class, its values, its files (by IS_CHANGED) and everything that feeds it
    are as they were. Results that the coming run does not take over are dropped before it starts: two models are
    never in memory where one is needed.

    Attributes:
        loads: how many times nodes that give weights were run.
    """

    def __init__(self) -> None:
        self.loads = 0
        self._results: dict[str, dict[str, Any]] = {}
        self._signatures: dict[tuple[int, str], str] = {}
        self._runs = itertools.count()

    def begin(self, graphs: Sequence[Graph], catalog: Catalog, order: Sequence[str]) -> None:
        """Get ready for a run of these nodes of graphs side by side."""
        self._signatures = {}
        for number, graph in enumerate(graphs):
            for node_id in order:
                self._signatures[number, node_id] = self._signature(graph, catalog, node_id, number)
        coming = {*self._signatures.values()}
        self._results = {key: result for key, result in self._results.items() if key in coming}

    def get(self, node_id: str, number: int = 0) -> dict[str, Any] | None:
        """The result that a node of this graph takes over; None: there is none."""
        result = self._results.get(self._signatures[number, node_id])
        return None if result is None else {**result, "seconds": 0.0}

    def put(self, node_id: str, returns: Sequence[str], result: dict[str, Any], number: int = 0) -> None:
        """Keep a node's result, if it is of the kind that is kept."""
        if WEIGHTS & {*returns}:
            self.loads += 1
        # STRING is what loaders say of themselves beside the weights.
        if _TYPES & {*returns} and {*returns} <= _TYPES | {"STRING"}:
            self._results[self._signatures[number, node_id]] = {**result}

    def _signature(self, graph: Graph, catalog: Catalog, node_id: str, number: int) -> str:
        node = graph[node_id]
        inputs = {
            name: [self._signatures[number, value[0]], value[1]] if is_link(value) else value
            for name, value in node["inputs"].items()
        }
        changed = getattr(catalog.classes[node["class_type"]], "IS_CHANGED", None)
        plain = {name: None if is_link(value) else value for name, value in node["inputs"].items()}
        state = None if changed is None else changed(**plain)
        if state != state:  # NaN, by which a node says that it is never the same
            state = f"run {next(self._runs)}"
        text = json.dumps([node["class_type"], state, sorted(inputs.items())], default=repr)
        return hashlib.sha256(text.encode()).hexdigest()
