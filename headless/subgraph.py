"""Subgraphs of a saved page, unfolded: each node inside becomes a node of the page, named by its way ("8:4").

It follows the page's own `ExecutableNodeDTO` (comfyui-frontend-package 1.27 to 1.49): a muted or bypassed subgraph
stays one node, an input of the subgraph feeds the nodes inside with the link outside, and an input with a widget that
has no link feeds them with the widget's value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .graph import WorkflowError

# Ids of the two nodes inside a subgraph that stand for its inputs and its outputs.
INPUTS, OUTPUTS = "-10", "-20"
_OFF = (2, 4)  # muted, bypassed

End = tuple[str, int]


@dataclass
class Promoted:
    """A value that a subgraph's node holds for a widget inside: entry `index` of its `widgets_values`."""

    value: Any
    holder: dict[str, Any]
    index: int
    name: str

    def set(self, value: Any) -> None:
        """Change it in the file."""
        saved, named = self.holder.get("widgets_values"), self.holder.get("widgets_values_named")
        if isinstance(saved, list) and self.index < len(saved):
            saved[self.index] = value
        if isinstance(named, dict):
            named[self.name] = value


@dataclass
class InnerNode:
    """A node as saved, with its way and its links renamed.

    Attributes:
        raw: what the file says of it, links renamed where it lies in a subgraph.
        saved: the file's own entry, shared by all uses of the subgraph.
        promoted: input -> the value that the subgraph's node has for it.
    """

    raw: dict[str, Any]
    saved: dict[str, Any]
    promoted: dict[str, Promoted] = field(default_factory=dict)


class Unfolded:
    """The nodes and links of a page without subgraphs.

    Attributes:
        nodes: all nodes that are no subgraphs, and subgraphs that are muted or bypassed.
        links: link -> (node, output) it begins at; None: it begins at an input of a subgraph that is not connected.

    Raises:
        WorkflowError: a broken node, link or subgraph, or a subgraph inside itself.
    """

    def __init__(self, workflow: dict[str, Any]) -> None:
        definitions = workflow.get("definitions")
        subgraphs = definitions.get("subgraphs") if isinstance(definitions, dict) else None
        self._subgraphs = {str(item.get("id")): item for item in dicts(subgraphs)}
        self._ends: dict[Any, End] = {}
        self._continued: dict[End, Any] = {}
        self.nodes: list[InnerNode] = []
        self._unfold(workflow, "", {}, ())
        self.links: dict[Any, End | None] = {link: self._origin(link) for link in self._ends}

    def _unfold(self, graph: dict[str, Any], way: str, values: dict[str, Promoted], around: tuple[str, ...]) -> None:
        for link, origin, _ in links_of(graph):
            self._ends[_key(way, link)] = (way + origin[0], origin[1])
        fed = {link: origin[1] for link, origin, _ in links_of(graph) if origin[0] == INPUTS} if way else {}
        names = [str(item.get("name", "")) for item in dicts(graph.get("inputs"))] if way else []
        for saved in raw_nodes(graph):
            refuse_group(saved)
            slots = dicts(saved.get("inputs"))
            promoted = {
                str(slot.get("name", "")): values[names[fed[slot["link"]]]]
                for slot in slots
                if _is_key(slot.get("link"))
                and fed.get(slot["link"], len(names)) < len(names)
                and names[fed[slot["link"]]] in values
            }
            raw = saved
            if way:
                renamed = [{**slot, "link": _key(way, slot.get("link"))} for slot in slots]
                raw = {**saved, "id": f"{way}{saved['id']}", "inputs": renamed}
            node = InnerNode(raw, saved, promoted)
            if saved["type"] in self._subgraphs and saved.get("mode") not in _OFF:
                self._open(node, around)
            else:
                self.nodes.append(node)

    def _open(self, node: InnerNode, around: tuple[str, ...]) -> None:
        kind, subgraph = node.saved["type"], self._subgraphs[node.saved["type"]]
        title = f'node {node.raw["id"]} "{node.saved.get("title") or subgraph.get("name") or kind}"'
        if kind in around:
            raise WorkflowError(
                f"{title} is a subgraph that holds itself; save the workflow again from ComfyUI's page."
            )
        if not isinstance(subgraph.get("nodes"), list):
            raise WorkflowError(
                f"{title} is a subgraph of which the file holds no nodes; save the workflow again from ComfyUI's page."
            )
        way = f"{node.raw['id']}:"
        slots = {str(slot.get("name", "")): slot for slot in dicts(node.raw.get("inputs"))}
        for number, item in enumerate(dicts(subgraph.get("inputs"))):
            slot = slots.get(str(item.get("name", "")), {})
            self._continued[way + INPUTS, number] = slot.get("link") if _is_key(slot.get("link")) else None
        for number in range(len(dicts(subgraph.get("outputs")))):
            self._continued[str(node.raw["id"]), number] = None
        for link, _, target in links_of(subgraph):
            if target[0] == OUTPUTS:
                self._continued[str(node.raw["id"]), target[1]] = _key(way, link)
        self._unfold(subgraph, way, _values(node, subgraph), (*around, kind))

    def _origin(self, link: Any) -> End | None:
        passed = set[Any]()
        while link in self._ends and self._ends[link] in self._continued and link not in passed:
            passed.add(link)
            link = self._continued[self._ends[link]]
        return None if link in passed else self._ends.get(link)


def _values(node: InnerNode, subgraph: dict[str, Any]) -> dict[str, Promoted]:
    """The values that a subgraph's node has for its inputs: by name, else by position among the inputs with a widget.

    Pages before 1.47 leave `widgets_values` empty: then the nodes inside hold the values.
    """
    inside = {
        slot["link"]
        for inner in raw_nodes(subgraph)
        for slot in dicts(inner.get("inputs"))
        if slot.get("widget") and _is_key(slot.get("link"))
    }
    inputs = dicts(subgraph.get("inputs"))
    fed: dict[int, bool] = {}
    for link, origin, _ in links_of(subgraph):
        if origin[0] == INPUTS:
            fed[origin[1]] = fed.get(origin[1], False) or link in inside
    saved, named = node.saved.get("widgets_values"), node.saved.get("widgets_values_named")
    listed = saved if isinstance(saved, list) else []
    by_name = named if isinstance(named, dict) else saved if isinstance(saved, dict) else {}
    values = dict[str, Promoted]()
    with_widget = [str(item.get("name", "")) for number, item in enumerate(inputs) if fed.get(number)]
    for index, name in enumerate(with_widget):
        if name in by_name:
            values[name] = Promoted(by_name[name], node.saved, index, name)
        elif index < len(listed):
            values[name] = Promoted(listed[index], node.saved, index, name)
    return {**values, **node.promoted}


def raw_nodes(graph: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes of a page or a subgraph as saved, checked to be nodes at all."""
    nodes = graph.get("nodes")
    if not isinstance(nodes, list):
        raise WorkflowError("this file has no list of nodes; expected a workflow saved by ComfyUI's page")
    for node in nodes:
        if not isinstance(node, dict) or "id" not in node or not isinstance(node.get("type"), str):
            raise WorkflowError(
                f"this workflow holds a node without id or type: {str(node)[:80]}. Save it again from ComfyUI's page."
            )
    return nodes


def refuse_group(node: dict[str, Any]) -> None:
    """Group nodes are what pages had before subgraphs; today's page cannot make them any more."""
    if node["type"].startswith(("workflow>", "workflow/")):
        raise WorkflowError(
            f'node {node["id"]} "{node.get("title") or node["type"]}" is a group node, which is not supported '
            "headless. On ComfyUI's page, select it, choose Convert to nodes, and save the workflow again."
        )


def dicts(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def links_of(graph: dict[str, Any]) -> Iterator[tuple[Any, End, End]]:
    """(link, origin node and output, target node and input); links are arrays in version 0.4, objects in version 1."""
    links = graph.get("links")
    for link in links if isinstance(links, list) else ():
        if link is None:
            continue
        try:
            if isinstance(link, dict):
                key, origin = link["id"], (str(link["origin_id"]), int(link["origin_slot"]))
                target = str(link.get("target_id")), int(link.get("target_slot") or 0)
            else:
                key, origin = link[0], (str(link[1]), int(link[2]))
                target = (str(link[3]), int(link[4] or 0)) if len(link) > 4 else ("", 0)
            hash(key)
            yield key, origin, target
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise WorkflowError(
                f"this workflow holds a broken link: {str(link)[:80]}. Save it again from ComfyUI's page."
            ) from error


def _is_key(link: Any) -> bool:
    return isinstance(link, (int, str))


def _key(way: str, link: Any) -> Any:
    """The name of a link on the whole page."""
    return f"{way}{link}" if way and _is_key(link) else link if _is_key(link) else None
