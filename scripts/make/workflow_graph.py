"""The page of a template under construction: columns of nodes with their heights, links and widgets."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pack
from workflow_files import File

AIR = 40  # between columns
# Between the nodes of a column: 30 pixels of title; 30 for the badge that the classic page draws above it, or for the
# bar below a node that has an error in Nodes 2.0.
GAP = 60
# What a window of 1600 x 900 has free beside the page's bars, titles and badges included, in frontends 1.35 and 1.49;
# and where that begins on the canvas, which in 1.49 goes on below the bars.
FREE, CORNER = (1455, 690), (70, 100)
BADGE = 50  # title and badge, above a node


# The least ComfyUI (pyproject.toml states it) and its page: what a template is written for.
FLOOR, FRONTEND = "0.8.0", "1.35.9"
# Workflow ids kept from before this script wrote the templates.
IDS = {"quickstart": "6f2d3f4e-5a0b-4c57-9a52-0e1c7b7f2a10"}
# What app mode shows: the last of these.
SHOWN = ("OpenT2VInspectFile", "OpenT2VDecodeToVideo", "OpenT2VSaveVideo", "OpenT2VJoinFiles")
# Nodes of ComfyUI itself: inputs (name, type), outputs, widgets as they are saved.
CORE: Mapping[str, tuple[tuple[tuple[str, str], ...], tuple[str, ...], list[Any]]] = {
    "LoadImage": ((), ("IMAGE", "MASK"), ["example.png", "image"]),
    "LoadAudio": ((), ("AUDIO",), ["sound.wav", None, None]),
    "SaveImage": ((("images", "IMAGE"),), (), ["ComfyUI"]),
    "CLIPVisionLoader": ((), ("CLIP_VISION",), [""]),
    "CLIPVisionEncode": ((("clip_vision", "CLIP_VISION"), ("image", "IMAGE")), ("CLIP_VISION_OUTPUT",), ["center"]),
}
FIRST_CHANGES = 60  # pixels of the lines at the end of a note that say what to change first
CORE_TITLES = {"LoadImage": "Load Image", "LoadAudio": "Load Audio"}
# Height of each node, stated here alone: enough for five lines of remarks, and for the longer verdict of a LoRA, in the
# classic page and in Nodes 2.0 of frontend 1.49; tests/browser/test_layout.py measures what each needs. A node that
# stands in a column thus never grows over the next one. Only what may show more, a sampler its preview and a file's
# node its picture or video, grows further: it stands at the end of a column.
# Nodes 2.0 of frontend 1.35 needs more and stretches the whole page by a fifth, which is enough.
STAYING = {
    "OpenT2VLoadModel": 290, "OpenT2VLoadDiffusionModel": 310, "OpenT2VLoadTextEncoder": 210, "OpenT2VLoadVAE": 185,
    "OpenT2VEncodePrompt": 360, "OpenT2VEmptyLatent": 405, "OpenT2VEncodeVideo": 300, "OpenT2VImageToVideo": 450,
    "OpenT2VColourMatch": 205, "OpenT2VFrameRate": 210, "OpenT2VCaption": 305, "OpenT2VStepCache": 420,
    "OpenT2VGuidance": 515, "OpenT2VDecode": 195, "OpenT2VCompareCache": 285, "OpenT2VLoadLora": 520,
    "OpenT2VReferences": 820, "OpenT2VWindows": 340, "OpenT2VUpscaleLatent": 205, "OpenT2VEncodeAudio": 250,
    "OpenT2VContinue": 480, "OpenT2VJoinClips": 320, "OpenT2VFinishFrames": 230,
    "OpenT2VInspectFile": 260, "OpenT2VStoryboard": 560, "OpenT2VKeyframes": 235,
    "CLIPVisionLoader": 90, "CLIPVisionEncode": 110,
}  # fmt: skip
GROWING = {
    "OpenT2VSampler": 540, "OpenT2VCalibrateCache": 540, "OpenT2VLoadVideo": 690, "LoadImage": 350, "LoadAudio": 200,
    "SaveImage": 330,
    "OpenT2VDecodeToVideo": 770, "OpenT2VSaveVideo": 700, "OpenT2VJoinFiles": 730,
}  # fmt: skip
HEIGHTS = STAYING | GROWING


@dataclass
class Graph:
    """A page under construction: columns of nodes from left to right, filled from above.

    Attributes:
        asked: (node, input) of what app mode asks for.
        notes: placed with the rest, numbered after it.
    """

    nodes: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    asked: list[tuple[int, str]] = field(default_factory=list)
    left: int = 0
    top: int = 0
    width: int = 0

    def column(self, width: int) -> None:
        """Begin a column right of the last one."""
        self.left, self.top, self.width = (self.left + self.width + AIR if self.width else 0), 0, width

    def add(
        self,
        kind: str,
        links: Mapping[str, tuple[int, str]] | None = None,
        values: Mapping[str, Any] | None = None,
        models: Sequence[File] = (),
    ) -> int:
        """Put a node at the end of the column and return its id.

        Args:
            links: input -> (id, output) of the node behind it.
            values: widget -> value, where it is not the node's default.
            models: the files that its widgets name.
        """
        sockets, outputs, widgets = _core(kind, values) if kind in CORE else _ours(kind, links or {}, values or {})
        node = {"id": len(self.nodes) + 1, **self._place(kind, HEIGHTS[kind], widgets)}
        self.nodes.append(node)
        node["properties"] = {**_origin(kind), "Node name for S&R": kind}
        if models:
            node["properties"] |= {"models": [file.link() for file in models]}
        node["inputs"] = [self._socket(node["id"], slot, socket, links or {}) for slot, socket in enumerate(sockets)]
        node["outputs"] = [{"name": name, "type": type_, "links": []} for name, type_ in outputs]
        return node["id"]

    def note(self, text: str, height: int, title: str = "How to / 说明") -> None:
        node = self._place("Note", height + FIRST_CHANGES, [text])
        self.notes.append(node | {"title": title, "color": "#432", "bgcolor": "#653"})

    def _numbered(self) -> list[dict[str, Any]]:
        """The nodes and, behind them, the notes, as the page saves them."""
        for node in self.nodes:
            for output in node["outputs"]:
                output["links"] = output["links"] or None
        nodes = [*self.nodes, *({"id": n, **note} for n, note in enumerate(self.notes, len(self.nodes) + 1))]
        for order, node in enumerate(nodes):
            node["order"] = order
        return nodes

    def page(self, name: str) -> dict[str, Any]:
        """The whole as the page saves it."""
        for note in self.notes:
            note["widgets_values"] = [f"{note['widgets_values'][0]}\n\n{self._first_changes()}"]
        nodes = self._numbered()
        scale = self._scale(nodes)
        offset = [math.ceil(CORNER[0] / scale), math.ceil(CORNER[1] / scale) + BADGE]
        app = {
            "inputs": [[str(number), widget] for number, widget in self.asked],
            "outputs": [str(node["id"]) for node in nodes if node["type"] in SHOWN][-1:],
        }
        return {
            "id": IDS.get(
                name, str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://github.com/OpenT2V/opent2v/workflows/{name}"))
            ),
            "revision": 0,
            "last_node_id": len(nodes),
            "last_link_id": len(self.links),
            "nodes": nodes,
            "links": self.links,
            "groups": [],
            "config": {},
            "extra": {"ds": {"scale": scale, "offset": offset}, "frontendVersion": FRONTEND, "linearData": app},
            "version": 0.4,
        }

    def _first_changes(self) -> str:
        """What to change first, in both languages: what app mode asks for."""
        from opent2v.nodes import NODE_DISPLAY_NAME_MAPPINGS  # pyright: ignore[reportMissingImports]

        text = (pack.ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8")
        chinese = {kind: entry["display_name"] for kind, entry in json.loads(text).items()}
        asked = [(self.nodes[number - 1]["type"], widget) for number, widget in self.asked]
        titles = {**CORE_TITLES, **NODE_DISPLAY_NAME_MAPPINGS}
        english = ", ".join(f"{widget} in {titles[kind]}" for kind, widget in asked)
        return (
            f"Change first: {english}.\n先改这些："
            + "、".join(f"“{chinese.get(kind, titles[kind])}”的 {widget}" for kind, widget in asked)
            + "。"
        )

    @staticmethod
    def _scale(nodes: Sequence[Mapping[str, Any]]) -> float:
        """The largest at which all lies in a window of 1600 x 900, in steps of 0.01 and 0.8 at most."""
        right, bottom = (max(node["pos"][axis] + node["size"][axis] for node in nodes) for axis in (0, 1))
        return math.floor(min(0.8, FREE[0] / right, FREE[1] / (bottom + BADGE)) * 100) / 100

    def _place(self, kind: str, height: int, widgets: list[Any]) -> dict[str, Any]:
        """A node at the end of the column.

        Raises:
            ValueError: the node above may grow over it.
        """
        over = [node["type"] for node in self.nodes if node["pos"] == [self.left, self.top - node["size"][1] - GAP]]
        if self.top and (grows := GROWING.keys() & set(over)):
            raise ValueError(f"{kind} would stand below {', '.join(grows)}, which grows; begin a column for it")
        node = {
            "type": kind, "pos": [self.left, self.top], "size": [self.width, height],
            "flags": {}, "order": 0, "mode": 0, "inputs": [], "outputs": [], "properties": {},
            "widgets_values": widgets,
        }  # fmt: skip
        self.top += height + GAP
        return node

    def _socket(
        self, target: int, slot: int, socket: dict[str, Any], links: Mapping[str, tuple[int, str]]
    ) -> dict[str, Any]:
        if socket["name"] not in links:
            return {**socket, "link": None}
        origin, output = links[socket["name"]]
        outputs = self.nodes[origin - 1]["outputs"]
        place = next(n for n, entry in enumerate(outputs) if entry["name"] == output)
        number = len(self.links) + 1
        self.links.append([number, origin, place, target, slot, socket["type"]])
        outputs[place]["links"].append(number)
        return {**socket, "link": number}


Described = tuple[list[dict[str, Any]], list[tuple[str, str]], list[Any]]


def _core(kind: str, values: Mapping[str, Any] | None) -> Described:
    inputs, outputs, widgets = CORE[kind]
    sockets: list[dict[str, Any]] = [{"name": name, "type": type_} for name, type_ in inputs]
    return sockets, [(name, name) for name in outputs], list(values.values()) if values else list(widgets)


def _ours(kind: str, links: Mapping[str, Any], values: Mapping[str, Any]) -> Described:
    """Sockets, then the widgets that are fed by a link; outputs; values in the order the page saves them."""
    from opent2v.headless.catalog import Catalog  # pyright: ignore[reportMissingImports]
    from opent2v.headless.page import widget_layout  # pyright: ignore[reportMissingImports]
    from opent2v.nodes import NODE_CLASS_MAPPINGS  # pyright: ignore[reportMissingImports]

    catalog = Catalog(NODE_CLASS_MAPPINGS)
    inputs = catalog.inputs(kind)
    unknown = {*links, *values} - {*inputs, "upload", "control_after_generate"}
    if unknown:
        raise ValueError(f"{kind} has no input {', '.join(sorted(unknown))}; it has {', '.join(inputs)}")
    sockets: list[dict[str, Any]] = [
        {"name": item.name, **({} if item.is_required else {"shape": 7}), "type": item.type}
        for item in inputs.values()
        if not item.is_widget
    ]
    sockets += [
        {"name": name, "type": inputs[name].type, "widget": {"name": name}} for name in links if inputs[name].is_widget
    ]
    widgets = [values.get(name, default) for name, default, _ in widget_layout(inputs)]
    widgets += ["image"] if "upload" in values else []  # the button behind a file that can be uploaded
    names = NODE_CLASS_MAPPINGS[kind].RETURN_NAMES
    return sockets, list(zip(names, catalog.returns(kind), strict=True)), widgets


def _origin(kind: str) -> dict[str, str]:
    if kind in CORE:
        return {"cnr_id": "comfy-core", "ver": FLOOR}
    version = re.search(r'^version = "(.+)"', (pack.ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    return {"cnr_id": "opent2v", "ver": version[1]}
