"""From the format that ComfyUI's page saves (nodes, links, widget values by position) to the format that runs.

It follows the page's own `graphToPrompt` and `ExecutableNodeDTO` (comfyui-frontend-package 1.27): what the page would
send to its server is what comes out here, defaults for widgets that a node gained since the file was saved included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .catalog import SEED_NAMES, Catalog, Input, type_name, types_fit
from .graph import Graph, WorkflowError, label
from .subgraph import InnerNode, Promoted, Unfolded, dicts

MUTED, BYPASSED = 2, 4
PREFIX = "filename_prefix"
NOTES = frozenset({"Note", "MarkdownNote"})
# Nodes that exist on the page only and never reach the server.
VIRTUAL = NOTES | {"Reroute", "PrimitiveNode"}


@dataclass
class Slot:
    """An input socket. `link` is the id of the link that ends here."""

    name: str
    type: str
    link: Any
    is_widget: bool


@dataclass
class PageNode:
    """A node of the page, its sockets in the order the page gives them."""

    id: str
    type: str
    title: str
    mode: int
    slots: list[Slot]
    outputs: list[str]
    widgets: dict[str, Any]
    pack: str = ""
    name: str = ""  # "Node name for S&R", by which file names refer to this node's values
    promoted: dict[str, Promoted] = field(default_factory=dict)  # widgets whose value a subgraph's node holds

    @property
    def is_virtual(self) -> bool:
        return self.type in VIRTUAL

    @property
    def label(self) -> str:
        return label(self.id, {"class_type": self.type, "inputs": {}, "title": self.title})


class Page:
    """A saved page.

    Raises:
        WorkflowError: not the page's format, or it holds group nodes, which only the page can unfold.

    Attributes:
        nodes: by id, those of subgraphs included ("8:4").
        saved: the file's own entry of each node; the uses of a subgraph share theirs.
    """

    def __init__(self, workflow: dict[str, Any], catalog: Catalog) -> None:
        unfolded = Unfolded(workflow)
        self.workflow = workflow
        self.problems: list[str] = []
        self.links = unfolded.links
        self.nodes: dict[str, PageNode] = {}
        self.saved: dict[str, dict[str, Any]] = {}
        for inner in unfolded.nodes:
            node = _node(inner, catalog)
            if node.id in self.nodes:
                raise WorkflowError(
                    f"two nodes of this workflow have the id {node.id}; save it again from ComfyUI's page"
                )
            self.nodes[node.id], self.saved[node.id] = node, inner.saved

    def graph(self) -> Graph:
        """What the page would send to the server."""
        sent = {
            node.id: node for node in self.nodes.values() if not node.is_virtual and node.mode not in (MUTED, BYPASSED)
        }
        graph = Graph(workflow=self.workflow)
        for node in sent.values():
            inputs = {name: _sent(value) for name, value in node.widgets.items()}
            if isinstance(inputs.get(PREFIX), str):
                inputs[PREFIX] = self.named_values(inputs[PREFIX])
            for slot in node.slots:
                primitive = self.primitive(slot)
                if primitive is not None:
                    if slot.is_widget and "value" in primitive.widgets:
                        inputs[slot.name] = _sent(primitive.widgets["value"])
                    continue
                origin = self.origin(node, slot)
                if origin is None:
                    continue
                if origin[0] in sent:
                    inputs[slot.name] = [*origin]
                else:  # fed by a muted node: the page sends neither the link nor the widget's value
                    inputs.pop(slot.name, None)
            graph[node.id] = {"class_type": node.type, "inputs": inputs, "title": node.title}
            graph.packs[node.id] = node.pack
        graph.problems = self.problems
        return graph

    def named_values(self, prefix: str) -> str:
        """A file's prefix with each %Node.widget% replaced as the page does (web/prefix.js); dates are the node's.

        Source: Comfy-Org/ComfyUI_frontend 1.49, searchAndReplace.ts.
        """

        def value(match: re.Match[str]) -> str:
            name, dot, widget = match[1].partition(".")
            named = [node for node in self.nodes.values() if node.name == name]
            matching = named or [node for node in self.nodes.values() if node.title == name]
            if not dot or not matching or widget not in matching[0].widgets:
                return match[0]
            return re.sub(r'[/?<>\\:*|"\x00-\x1F\x7F]', "_", _text(matching[0].widgets[widget]))

        return re.sub("%([^%]+)%", value, prefix)

    def primitive(self, slot: Slot) -> PageNode | None:
        """The page's PrimitiveNode directly behind a slot; it writes into the widget instead of sending a link."""
        origin = self.nodes.get((self.links.get(slot.link) or ("", 0))[0])
        return origin if origin is not None and origin.type == "PrimitiveNode" else None

    def origin(self, node: PageNode, slot: Slot) -> tuple[str, int] | None:
        """The real node and output behind a slot, through reroutes and bypassed nodes; None: nothing connected."""
        start, name = node, slot.name
        input_type = None
        seen: set[tuple[str, int]] = set()
        while slot.link is not None:
            if slot.link not in self.links:
                return self._problem(start, name, f"refers to link {slot.link}, which the file does not have")
            end = self.links[slot.link]
            if end is None:
                return None
            origin_id, output = end
            if origin_id not in self.nodes:
                return self._problem(start, name, f"is linked to node {origin_id}, which the file does not have")
            if (origin_id, output) in seen:
                return self._problem(start, name, "is fed by reroutes or bypassed nodes that form a circle")
            seen.add((origin_id, output))
            input_type = input_type or slot.type
            node = self.nodes[origin_id]
            if node.mode == BYPASSED:
                through = bypass_slot(node, output, input_type)
                if through is None:
                    return None
                slot, input_type = node.slots[through], None
            elif node.is_virtual:
                if output >= len(node.slots):
                    return None
                slot = node.slots[output]
            else:
                return origin_id, output
        return None

    def _problem(self, node: PageNode, name: str, fault: str) -> None:
        self.problems.append(f"{node.label}: input '{name}' {fault}; connect it again on ComfyUI's page")


def bypass_slot(node: PageNode, output: int, input_type: str) -> int | None:
    """Which input of a bypassed node stands in for one of its outputs: the first that fits, an equal type preferred.

    Args:
        input_type: the type of the input that asks.
    """
    if input_type in ("*", "", "0"):
        return (output if len(node.slots) > output else 0) if node.slots else None
    output_type = node.outputs[output] if output < len(node.outputs) else "*"

    def fits(slot: Slot) -> bool:
        return types_fit(slot.type, output_type) and types_fit(slot.type, input_type)

    if output < len(node.slots) and fits(node.slots[output]):
        return output
    equal = [index for index, slot in enumerate(node.slots) if slot.type == input_type]
    fitting = [index for index, slot in enumerate(node.slots) if fits(slot)]
    return next(iter(equal + fitting), None)


def widget_layout(inputs: dict[str, Input]) -> list[tuple[str, Any, bool]]:
    """The widgets of a node in the order of `widgets_values`: (name, default, whether it is sent)."""
    layout: list[tuple[str, Any, bool]] = []
    for item in inputs.values():
        if item.is_widget:
            layout.append((item.name, item.default, True))
            layout += [(name, default, False) for name, default in item.controls]
    return layout


def widget_values(saved: Any, inputs: dict[str, Input]) -> list[Any]:
    """The value of every widget in layout order; what the file does not hold has its default.

    Args:
        saved: `widgets_values` of a node: a list by position, a dictionary by name (some packs), or None.
    """
    layout = widget_layout(inputs)
    if isinstance(saved, dict):
        return [saved.get(name, default) for name, default, _ in layout]
    values = without_forced(saved, inputs) if isinstance(saved, list) else []
    return [values[index] if index < len(values) else default for index, (_, default, _) in enumerate(layout)]


def without_forced(values: list[Any], inputs: dict[str, Input]) -> list[Any]:
    """Drop the dummy values that pages before 1.16 saved for `forceInput` inputs.

    It recognises them by their number and drops them by their place, mistakes included, as today's page does.
    """
    kept = [item for item in inputs.values() if item.is_widget or item.is_forced]
    doubled = sum(1 for item in kept if item.options.get("control_after_generate") or item.name in SEED_NAMES)
    if len(kept) + doubled != len(values):
        return values
    return [value for index, value in enumerate(values) if index >= len(kept) or not kept[index].is_forced]


def _sent(value: Any) -> Any:
    """A widget's value as it is sent; a bare list would be taken for a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _text(value: Any) -> str:
    """A widget's value as JavaScript writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value)


def _node(inner: InnerNode, catalog: Catalog) -> PageNode:
    raw = inner.raw
    kind = raw["type"]
    properties = raw.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    outputs = [type_name(item.get("type", "*")) for item in dicts(raw.get("outputs"))]
    slots = [_saved_slot(item) for item in dicts(raw.get("inputs"))]
    widgets: dict[str, Any] = {}
    if kind in catalog:
        inputs = catalog.inputs(kind)
        slots = _defined_slots(slots, inputs)
        returns = catalog.returns(kind)
        outputs = [*returns, *outputs[len(returns) :]]
        values = widget_values(raw.get("widgets_values"), inputs)
        widgets = {
            name: value for (name, _, is_sent), value in zip(widget_layout(inputs), values, strict=True) if is_sent
        }
    elif kind == "PrimitiveNode" and isinstance(raw.get("widgets_values"), list) and raw["widgets_values"]:
        widgets = {"value": raw["widgets_values"][0]}
    promoted = {name: entry for name, entry in inner.promoted.items() if name in widgets}
    widgets |= {name: entry.value for name, entry in promoted.items()}
    return PageNode(
        promoted=promoted,
        id=str(raw["id"]),
        type=kind,
        title=str(raw.get("title") or catalog.title(kind)),
        mode=raw.get("mode") or 0,
        slots=slots,
        outputs=outputs,
        widgets=widgets,
        pack=str(properties.get("cnr_id") or properties.get("aux_id") or ""),
        name=str(properties.get("Node name for S&R") or kind),
    )


def _saved_slot(item: dict[str, Any]) -> Slot:
    link = item.get("link")
    link = link if isinstance(link, (int, str)) else None
    return Slot(str(item.get("name", "")), type_name(item.get("type", "*")), link, bool(item.get("widget")))


def _defined_slots(saved: list[Slot], inputs: dict[str, Input]) -> list[Slot]:
    """The slots of a known class: sockets first, then widgets, then whatever else the file has; links found by name."""
    links = {slot.name: slot.link for slot in saved}
    ordered = sorted(inputs.values(), key=lambda item: item.is_widget)
    defined = [Slot(item.name, item.type, links.get(item.name), item.is_widget) for item in ordered]
    return defined + [slot for slot in saved if slot.name not in inputs]
