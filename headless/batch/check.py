"""Checks the values of a job against the workflow, quickly enough for a million rows."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from ..catalog import Catalog
from ..graph import Graph, WorkflowError
from ..overrides import load_changed
from ..validation import validate
from ..values import parsed
from .columns import Column

# Verdicts that are kept. A verdict is a short text.
_KEPT = 10_000


class Checker:
    """Says of each job what a run would say before its first node runs.

    A value is always checked against what its input allows. The workflow as a whole is checked again only where a value
    has changed that its node's own check reads, or that has no place in the graph.
    """

    def __init__(self, text: str, graph: Graph, classes: Mapping[str, Any], titles: Mapping[str, str]) -> None:
        self._text, self._graph = text, graph
        self._classes, self._titles = classes, titles
        self.catalog = Catalog(classes, titles)
        self._is_read: dict[Column, bool] = {}
        self._verdicts: OrderedDict[tuple[Any, ...], str] = OrderedDict()

    def problem(self, texts: Mapping[Column, str]) -> str:
        """Why a job with these values cannot run; "" where it can."""
        values: dict[Column, Any] = {}
        for column, text in texts.items():
            try:
                values[column] = parsed(column.item, text)
            except ValueError as error:
                return f"{column.name} {error}"
        key = tuple((column.target, str(value)) for column, value in values.items() if self._matters(column))
        # Which inputs are set matters as well: a required one may lack a value in the workflow itself.
        key = (tuple(column.target for column in values), *key)
        if key not in self._verdicts:
            self._verdicts[key] = self._verdict(texts, values)
            if len(self._verdicts) > _KEPT:
                self._verdicts.popitem(last=False)
        return self._verdicts[key]

    def _verdict(self, texts: Mapping[Column, str], values: Mapping[Column, Any]) -> str:
        try:
            if all(self._is_in_graph(column) for column in values):
                graph = Graph(
                    {node_id: {**node, "inputs": {**node["inputs"]}} for node_id, node in self._graph.items()}
                )
                graph.problems, graph.packs = self._graph.problems, self._graph.packs
                for column, value in values.items():
                    graph[column.node_id]["inputs"][column.item.name] = value
            else:
                changes = [f"{column.target}={text}" for column, text in texts.items()]
                graph = load_changed(self._text, changes, self._classes, self._titles)
            validate(graph, self._classes)
        except WorkflowError as error:
            return str(error)
        return ""

    def _is_in_graph(self, column: Column) -> bool:
        """A value of the page's own primitive nodes has no place in the graph: it is written into other nodes."""
        return column.node_id in self._graph

    def _matters(self, column: Column) -> bool:
        if column not in self._is_read:
            check = getattr(self.catalog.classes.get(column.kind), "VALIDATE_INPUTS", None)
            spec = inspect.getfullargspec(check) if check else None
            names = {*spec.args, *spec.kwonlyargs} if spec else set()
            takes_all = spec is not None and spec.varkw is not None
            self._is_read[column] = takes_all or column.item.name in names or not self._is_in_graph(column)
        return self._is_read[column]
