"""Writes the templates in workflows/: quickstart, one for each family and task, and those of single nodes.

    python3 scripts/make/workflows.py

What they hold stands in scripts/make/workflow_data.py; how it is laid out, here. scripts/make/thumbnails.py draws the
pictures beside them.
"""

from __future__ import annotations

import json
import math
import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import console
import environment
import pack
from workflow_data import (
    CACHE_NOTE,
    CAPTIONS,
    FINISH_NOTE,
    LORA_NOTE,
    QUICKSTART_NOTE,
    TEMPLATES,
    VIDEO_NOTE,
    File,
    Template,
)

FOLDER = pack.ROOT / "workflows"
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
SAVING = ("OpenT2VDecodeToVideo", "OpenT2VSaveVideo")
# Nodes of ComfyUI itself: inputs (name, type), outputs, widgets as they are saved.
CORE: Mapping[str, tuple[tuple[tuple[str, str], ...], tuple[str, ...], list[Any]]] = {
    "LoadImage": ((), ("IMAGE", "MASK"), ["example.png", "image"]),
    "CLIPVisionLoader": ((), ("CLIP_VISION",), [""]),
    "CLIPVisionEncode": ((("clip_vision", "CLIP_VISION"), ("image", "IMAGE")), ("CLIP_VISION_OUTPUT",), ["center"]),
}
# Height of each node: enough for five lines of remarks, in the classic page and in Nodes 2.0 of frontend 1.49, measured
# (tests/browser/test_layout.py). A node that stands in a column thus never grows over the next one. Only what may show
# more, a sampler its preview and a file's node its picture or video, grows further: it stands at the end of a column.
# Nodes 2.0 of frontend 1.35 needs more and stretches the whole page by a fifth, which is enough.
STAYING = {
    "OpenT2VLoadModel": 290, "OpenT2VLoadDiffusionModel": 250, "OpenT2VLoadTextEncoder": 210, "OpenT2VLoadVAE": 185,
    "OpenT2VEncodePrompt": 335, "OpenT2VEmptyLatent": 370, "OpenT2VEncodeVideo": 300, "OpenT2VImageToVideo": 385,
    "OpenT2VColourMatch": 205, "OpenT2VFrameRate": 210, "OpenT2VCaption": 305, "OpenT2VStepCache": 420,
    "OpenT2VGuidance": 380, "OpenT2VDecode": 195, "OpenT2VCompareCache": 215, "OpenT2VLoadLora": 305,
    "CLIPVisionLoader": 90, "CLIPVisionEncode": 110,
}  # fmt: skip
GROWING = {
    "OpenT2VSampler": 515, "OpenT2VCalibrateCache": 520, "OpenT2VLoadVideo": 690, "LoadImage": 350,
    "OpenT2VDecodeToVideo": 770, "OpenT2VSaveVideo": 700,
}  # fmt: skip
HEIGHTS = STAYING | GROWING


def main() -> int:
    console.describe(__doc__)
    environment.ensure()
    pack.mount()
    graphs = {template.name: generation(template) for template in TEMPLATES}
    graphs |= {build.__name__: build() for build in (quickstart, video_to_video, finishing, step_cache, lora)}
    for name, graph in graphs.items():
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(graph.page(name), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path)
    return 0


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
        height: int = 0,
    ) -> int:
        """Put a node at the end of the column and return its id.

        Args:
            links: input -> (id, output) of the node behind it.
            values: widget -> value, where it is not the node's default.
            models: the files that its widgets name.
            height: where it has more to say than usual.
        """
        sockets, outputs, widgets = _core(kind, values) if kind in CORE else _ours(kind, links or {}, values or {})
        node = {"id": len(self.nodes) + 1, **self._place(kind, height or HEIGHTS[kind], widgets)}
        self.nodes.append(node)
        node["properties"] = {**_origin(kind), "Node name for S&R": kind}
        if models:
            node["properties"] |= {"models": [file.link() for file in models]}
        node["inputs"] = [self._socket(node["id"], slot, socket, links or {}) for slot, socket in enumerate(sockets)]
        node["outputs"] = [{"name": name, "type": type_, "links": []} for name, type_ in outputs]
        return node["id"]

    def note(self, text: str, height: int, title: str = "How to / 说明") -> None:
        node = self._place("Note", height, [text])
        self.notes.append(node | {"title": title, "color": "#432", "bgcolor": "#653"})

    def page(self, name: str) -> dict[str, Any]:
        """The whole as the page saves it."""
        for node in self.nodes:
            for output in node["outputs"]:
                output["links"] = output["links"] or None
        nodes = [*self.nodes, *({"id": n, **note} for n, note in enumerate(self.notes, len(self.nodes) + 1))]
        for order, node in enumerate(nodes):
            node["order"] = order
        scale = self._scale(nodes)
        offset = [math.ceil(CORNER[0] / scale), math.ceil(CORNER[1] / scale) + BADGE]
        app = {
            "inputs": [[str(number), widget] for number, widget in self.asked],
            "outputs": [str(node["id"]) for node in nodes if node["type"] in SAVING],
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


def generation(template: Template) -> Graph:
    """Loaders, prompt and picture, sampler, file."""
    graph = Graph()
    graph.column(340)
    graph.note(_note(template), 460)
    picture = graph.add("LoadImage") if template.starts else None
    graph.column(400)
    published = [] if template.model.converted else [template.model]
    model = graph.add("OpenT2VLoadDiffusionModel", values={"file": template.model.name}, models=published)
    sampled = {"model": (model, "model")}
    if template.low:
        low = graph.add("OpenT2VLoadDiffusionModel", values={"file": template.low.name}, models=[template.low])
        sampled["low_noise_model"] = (low, "model")
    named = dict(zip(("file", "file_2"), (file.name for file in template.text), strict=False))
    clip = vae = model
    if template.text:
        chosen = {"file_2": "none"} | named
        clip = graph.add("OpenT2VLoadTextEncoder", {"model": (model, "model")}, chosen, template.text)
    if template.vae:
        vae = graph.add("OpenT2VLoadVAE", values={"file": template.vae.name}, models=[template.vae])
    vision = None
    if template.vision:
        vision = graph.add("CLIPVisionLoader", values={"clip_name": template.vision.name}, models=[template.vision])
    graph.column(380)
    texts = {"positive": template.prompt, **template.values.get("OpenT2VEncodePrompt", {})}
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (clip, "clip")}, texts)
    words = {name: (prompt, name) for name in ("positive", "negative")}
    asked = [(prompt, "positive")]
    if picture is None:
        latent = graph.add("OpenT2VEmptyLatent", {"model": (model, "model")})
    else:
        links = {"model": (model, "model"), "vae": (vae, "vae"), **words, "start_image": (picture, "IMAGE")}
        if vision is not None:
            seen = {"clip_vision": (vision, "CLIP_VISION"), "image": (picture, "IMAGE")}
            links["clip_vision_output"] = (graph.add("CLIPVisionEncode", seen), "CLIP_VISION_OUTPUT")
        asked.insert(0, (picture, "image"))
        latent = graph.add("OpenT2VImageToVideo", links)
        words = {name: (latent, name) for name in words}
    graph.column(340)
    if guidance := template.values.get("OpenT2VGuidance"):
        sampled["guidance"] = (graph.add("OpenT2VGuidance", values=guidance), "guidance")
    settings = {"seed": 1, **template.values.get("OpenT2VSampler", {})}
    sampler = graph.add("OpenT2VSampler", {**sampled, **words, "latent": (latent, "latent")}, settings)
    graph.column(400)
    graph.add("OpenT2VDecodeToVideo", _decoded(vae, sampler, latent))
    graph.asked = [*asked, (latent, "frames"), (sampler, "seed")]
    return graph


def _sampled(model: int, prompt: int, latent: int) -> dict[str, tuple[int, str]]:
    """What a sampler gets."""
    words = {name: (prompt, name) for name in ("positive", "negative")}
    return {"model": (model, "model"), **words, "latent": (latent, "latent")}


def _decoded(vae: int, sampler: int, timed: int) -> dict[str, tuple[int, str]]:
    """What Decode to Video File gets; `timed` is the node that knows the frames per second."""
    return {"vae": (vae, "vae"), "latent": (sampler, "latent"), "fps": (timed, "fps")}


def _note(template: Template) -> str:
    """Which file goes where, and a hint, in both languages."""
    lines = [
        f"{template.title}: files from huggingface.co, and their folders",
        "所需文件（来自 huggingface.co）与文件夹：",
    ]
    for file in template.files:
        if file.converted:
            original = file.path.rpartition("/")[2]
            lines += [f"• {original} ({file.gigabytes:g} GB) from {file.repository}, converted / 转换:"]
            lines += [f"   python3 scripts/convert.py {original} {file.name}"]
            lines += [f"   {file.name} → models/{file.directory}"]
            continue
        lines += [f"• {file.name} ({file.gigabytes:g} GB)", f"   {file.repository} → models/{file.directory}"]
    lines += ["", "0 means the model's own value. " + template.english]
    return "\n".join([*lines, "", "0 表示模型自己的默认值。" + template.chinese])


def quickstart() -> Graph:
    """The model of the pack: from words to a file by the nodes that every model has."""
    graph = Graph()
    graph.column(370)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    graph.note(QUICKSTART_NOTE, 590, "Try it / 试一试")
    graph.column(380)
    texts = {"positive": "a red triangle moving to the right on a black background"}
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (model, "clip")}, texts)
    latent = graph.add("OpenT2VEmptyLatent", {"model": (model, "model")})
    graph.column(320)
    sampler = graph.add("OpenT2VSampler", _sampled(model, prompt, latent), {"seed": 1})
    graph.column(240)
    images = graph.add("OpenT2VDecode", {"vae": (model, "vae"), "latent": (sampler, "latent")})
    graph.column(400)
    graph.add("OpenT2VSaveVideo", {"images": (images, "images"), "fps": (latent, "fps")})
    graph.asked = [(prompt, "positive"), (sampler, "seed")]
    return graph


def video_to_video() -> Graph:
    """The frames of a video, as a latent, made anew in part."""
    graph = Graph()
    graph.column(340)
    graph.note(VIDEO_NOTE, 460)
    graph.column(380)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    # No file, because the page would report a missing one as an error.
    small = {"file": "", "count": 17, "fps": 16, "width": 64, "height": 64}
    video = graph.add("OpenT2VLoadVideo", values={**small, "upload": "image"})
    graph.column(380)
    texts = {"positive": "a yellow star moving to the right on a grey background"}
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (model, "clip")}, texts)
    latent = graph.add("OpenT2VEncodeVideo", {"vae": (model, "vae"), "images": (video, "images")})
    graph.column(340)
    sampler = graph.add("OpenT2VSampler", _sampled(model, prompt, latent), {"seed": 1, "denoise": 0.6})
    graph.column(400)
    graph.add("OpenT2VDecodeToVideo", _decoded(model, sampler, video), {"filename_prefix": "OpenT2V_anew"})
    graph.asked = [(video, "file"), (prompt, "positive"), (sampler, "denoise"), (sampler, "seed")]
    return graph


def finishing() -> Graph:
    """The quickstart model, and steps between its frames and the file."""
    graph = Graph()
    graph.column(340)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    graph.note(FINISH_NOTE, 460)
    graph.column(380)
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (model, "clip")})
    latent = graph.add("OpenT2VEmptyLatent", {"model": (model, "model")})
    graph.column(340)
    sampler = graph.add("OpenT2VSampler", _sampled(model, prompt, latent), {"seed": 1})
    graph.column(340)
    colours = graph.add("OpenT2VColourMatch")
    rate = graph.add("OpenT2VFrameRate", {"finishing": (colours, "finishing")})
    shown = {"text": CAPTIONS, "size": 0.17}
    captions = graph.add("OpenT2VCaption", {"finishing": (rate, "finishing")}, shown)
    graph.column(400)
    steps = {"finishing": (captions, "finishing")}
    graph.add(
        "OpenT2VDecodeToVideo", {**_decoded(model, sampler, latent), **steps}, {"filename_prefix": "OpenT2V_finished"}
    )
    graph.asked = [(prompt, "positive"), (captions, "text"), (sampler, "seed")]
    return graph


def step_cache() -> Graph:
    """The quickstart model measured, sampled by the plan that comes of it, and compared."""
    graph = Graph()
    graph.column(340)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    graph.note(CACHE_NOTE, 520)
    graph.column(380)
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (model, "clip")})
    latent = graph.add("OpenT2VEmptyLatent", {"model": (model, "model")})
    graph.column(340)
    links = _sampled(model, prompt, latent)
    same = {"seed": 1, "control_after_generate": "fixed"}
    measured = graph.add("OpenT2VCalibrateCache", links, same)
    graph.column(340)
    chosen = {"policy": "auto", "target_speedup": 2.0, "predictor": "linear"}
    cache = graph.add("OpenT2VStepCache", {"profile": (measured, "profile")}, chosen)
    sampler = graph.add("OpenT2VSampler", {**links, "step_cache": (cache, "step_cache")}, same)
    graph.column(300)
    pictures = {
        name: (graph.add("OpenT2VDecode", {"vae": (model, "vae"), "latent": (sampled, "latent")}), "images")
        for name, sampled in (("images", sampler), ("reference_images", measured))
    }
    graph.add("OpenT2VCompareCache", pictures)
    graph.column(400)
    graph.add("OpenT2VDecodeToVideo", _decoded(model, sampler, latent), {"filename_prefix": "OpenT2V_cached"})
    graph.asked = [(prompt, "positive"), (cache, "target_speedup")]
    return graph


def lora() -> Graph:
    """The quickstart model with its LoRA."""
    graph = Graph()
    graph.column(340)
    graph.note(LORA_NOTE, 460)
    graph.column(360)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    style = {"lora": "opent2v-quickstart-outline.safetensors"}
    styled = graph.add("OpenT2VLoadLora", {"model": (model, "model"), "clip": (model, "clip")}, style, height=400)
    graph.column(380)
    texts = {"positive": "a white square moving to the right on a black background"}
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (styled, "clip")}, texts)
    latent = graph.add("OpenT2VEmptyLatent", {"model": (styled, "model")})
    graph.column(340)
    sampler = graph.add("OpenT2VSampler", _sampled(styled, prompt, latent), {"seed": 1})
    graph.column(400)
    graph.add("OpenT2VDecodeToVideo", _decoded(model, sampler, latent), {"filename_prefix": "OpenT2V_outline"})
    graph.asked = [(prompt, "positive"), (styled, "strength_model"), (sampler, "seed")]
    return graph


if __name__ == "__main__":
    raise SystemExit(console.guard(main))
