"""A subgraph blueprint under construction: nodes as in a template, and the inputs and outputs of the whole.

The form is that of the page's own "publish subgraph" (comfyui-frontend-package 1.35 to 1.49) and of the files in
ComfyUI's `blueprints/`; ComfyUI's `app/subgraph_manager.py` reads those of a pack from `subgraphs/*.json`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workflow_graph import AIR, FLOOR, FRONTEND, Graph

INPUTS, OUTPUTS = -10, -20  # ids of the two nodes that stand for the whole's inputs and outputs, as the page has them
ROW, EDGE, WIDTH = 20, 28, 160  # of a line of such a node, of what is above and below the lines; its width
HEAD, WIDGET, TEXT = 40, 28, 110  # pixels of the whole's node: title and margin, a widget, a widget of several lines
CATEGORY = "OpenT2V"
FIRST = ("model", "clip", "vae", "low_noise_model", "audio_vae")  # ports that stand above all others


@dataclass
class Port:
    """An input of the whole, and the sockets and widgets inside that it feeds.

    Attributes:
        is_optional: nothing inside needs it.
        is_widget: a value that the whole's node shows, with its default from the first node that it feeds.
    """

    name: str
    type: str
    is_optional: bool
    is_widget: bool
    is_multiline: bool
    links: list[int] = field(default_factory=list)


class Blueprint(Graph):
    """A graph whose nodes are fed by ports of the whole: `add(kind, fed={input: port})`.

    Raises:
        ValueError: a port that feeds inputs of different types.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ports: dict[str, Port] = {}
        self.results: list[tuple[str, str, int]] = []  # name, type, link

    def add(
        self,
        kind: str,
        links: Mapping[str, tuple[int, str]] | None = None,
        values: Mapping[str, Any] | None = None,
        models: Any = (),
        fed: Mapping[str, str] | None = None,
    ) -> int:
        """As `Graph.add`, with inputs that ports feed (input -> port)."""
        outside = {name: (INPUTS, port) for name, port in (fed or {}).items()}
        return super().add(kind, {**(links or {}), **outside}, values, models)

    def result(self, name: str, source: tuple[int, str]) -> None:
        """An output of the whole: (node, output) inside."""
        origin, output = source
        outputs = self.nodes[origin - 1]["outputs"]
        place = next(n for n, entry in enumerate(outputs) if entry["name"] == output)
        number = len(self.links) + 1
        type_ = outputs[place]["type"]
        self.links.append([number, origin, place, OUTPUTS, len(self.results), type_])
        outputs[place]["links"].append(number)
        self.results.append((name, type_, number))

    def _socket(
        self, target: int, slot: int, socket: dict[str, Any], links: Mapping[str, tuple[int, str]]
    ) -> dict[str, Any]:
        origin, name = links.get(socket["name"], (0, ""))
        if origin != INPUTS:
            return super()._socket(target, slot, socket, links)
        is_optional = socket.get("shape") == 7
        is_multiline = socket["type"] == "STRING" and name in ("positive", "negative", "caption")
        port = self.ports.setdefault(name, Port(name, socket["type"], True, "widget" in socket, is_multiline))
        if port.type != socket["type"]:
            raise ValueError(f"{name} feeds {socket['name']} with {port.type}; expected {socket['type']}")
        port.is_optional &= is_optional
        number = len(self.links) + 1
        self.links.append([number, INPUTS, name, target, slot, socket["type"]])  # a number once all ports are known
        port.links.append(number)
        return {**socket, "link": number}

    def blueprint(self, name: str, description: str) -> dict[str, Any]:
        """The whole as the page publishes it."""
        self._order_ports()
        ids = [uuid.uuid5(uuid.NAMESPACE_URL, f"https://github.com/OpenT2V/opent2v/subgraphs/{name}/{part}")
               for part in ("whole", *self.ports, *(f"out {result}" for result, _, _ in self.results))]  # fmt: skip
        whole, *parts = map(str, ids)
        nodes = self._numbered()
        right = self.left + self.width + AIR
        keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        subgraph = {
            "id": whole, "version": 1,
            "state": {"lastGroupId": 0, "lastNodeId": len(nodes), "lastLinkId": len(self.links), "lastRerouteId": 0},
            "revision": 0, "config": {}, "name": name,
            "inputNode": {"id": INPUTS, "bounding": [-AIR - WIDTH, 0, WIDTH, ROW * len(self.ports) + 2 * EDGE]},
            "outputNode": {"id": OUTPUTS, "bounding": [right, 0, WIDTH, ROW * len(self.results) + 2 * EDGE]},
            "inputs": [
                {"id": id_, "name": port.name, "type": port.type, "linkIds": port.links,
                 **({"shape": 7} if port.is_optional and not port.is_widget else {}),
                 "pos": [-AIR - ROW, EDGE + ROW * row]}
                for row, (id_, port) in enumerate(zip(parts, self.ports.values(), strict=False))
            ],
            "outputs": [
                {"id": id_, "name": result, "type": type_, "linkIds": [link], "pos": [right + ROW, EDGE + ROW * row]}
                for row, (id_, (result, type_, link)) in enumerate(
                    zip(parts[len(self.ports):], self.results, strict=True)
                )
            ],
            "widgets": [], "nodes": nodes, "groups": [],
            "links": [dict(zip(keys, link, strict=True)) for link in self.links],
            "extra": {}, "category": CATEGORY, "description": description,
        }  # fmt: skip
        return {
            "revision": 0, "last_node_id": len(nodes) + 1, "last_link_id": 0,
            "nodes": [self._whole(len(nodes) + 1, whole, name)], "links": [], "version": 0.4,
            "definitions": {"subgraphs": [subgraph]}, "extra": {"frontendVersion": FRONTEND},
        }  # fmt: skip

    def _order_ports(self) -> None:
        """Put sockets before widgets and those of a loader first, and number the links that begin at ports."""
        rank = {name: place for place, name in enumerate(FIRST)}
        ordered = sorted(self.ports.values(), key=lambda port: (port.is_widget, rank.get(port.name, len(FIRST))))
        self.ports = {port.name: port for port in ordered}
        places = {name: place for place, name in enumerate(self.ports)}
        for link in self.links:
            link[2] = places.get(link[2], link[2])

    def _whole(self, number: int, kind: str, title: str) -> dict[str, Any]:
        """The node that stands for the whole; the nodes inside hold the values of its widgets."""
        sockets = [port for port in self.ports.values() if not port.is_widget]
        widgets = [port for port in self.ports.values() if port.is_widget]
        lines = max(len(sockets), len(self.results))
        height = HEAD + ROW * lines + sum(TEXT if port.is_multiline else WIDGET for port in widgets)
        return {
            "id": number, "type": kind, "pos": [0, 0], "size": [400, height], "flags": {}, "order": 0, "mode": 0,
            "inputs": [
                {"name": port.name, "type": port.type, **({"shape": 7} if port.is_optional else {}), "link": None}
                for port in sockets
            ] + [
                {"name": port.name, "type": port.type, "widget": {"name": port.name}, "link": None} for port in widgets
            ],
            "outputs": [{"name": name, "type": type_, "links": None} for name, type_, _ in self.results],
            "title": title, "properties": {"cnr_id": "opent2v", "ver": FLOOR}, "widgets_values": [],
        }  # fmt: skip
