"""Writes the templates in workflows/ (quickstart.json is made by hand): one for each family and task.

    python3 scripts/make_workflows.py

What they hold stands in scripts/workflow_data.py; how it is laid out, here. scripts/make_thumbnails.py draws the
pictures beside them.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import console
import environment
import pack
from workflow_data import (
    CACHE_NOTE,
    CAPTIONS,
    CHOOSE_VIDEO,
    FINISH_NOTE,
    LORA_NOTE,
    TEMPLATES,
    VIDEO_NOTE,
    File,
    Template,
)

FOLDER = pack.ROOT / "workflows"
GAP = 50  # between the nodes of a column: 30 pixels of title, 20 of air
# The page's view: at this scale and offset a template of up to 2060 x 1040 lies in a window of 1600 x 900.
SCALE, OFFSET = 0.72, (60, 70)


# Nodes of ComfyUI itself: inputs (name, type), outputs, widgets as they are saved.
CORE: Mapping[str, tuple[tuple[tuple[str, str], ...], tuple[str, ...], list[Any]]] = {
    "LoadImage": ((), ("IMAGE", "MASK"), ["example.png", "image"]),
    "CLIPVisionLoader": ((), ("CLIP_VISION",), [""]),
    "CLIPVisionEncode": ((("clip_vision", "CLIP_VISION"), ("image", "IMAGE")), ("CLIP_VISION_OUTPUT",), ["center"]),
}
# Height of each node; none grows beyond it on the page, its remarks and a video or picture included.
HEIGHTS = {
    "OpenT2VLoadModel": 200, "OpenT2VLoadDiffusionModel": 190, "OpenT2VLoadTextEncoder": 130, "OpenT2VLoadVAE": 100,
    "OpenT2VEncodePrompt": 310, "OpenT2VEmptyLatent": 280, "OpenT2VSampler": 465, "OpenT2VImageToVideo": 310,
    "OpenT2VEncodeVideo": 220, "OpenT2VLoadVideo": 410, "OpenT2VDecodeToVideo": 770, "OpenT2VColourMatch": 90,
    "OpenT2VFrameRate": 100, "OpenT2VCaption": 200, "OpenT2VStepCache": 350, "OpenT2VCalibrateCache": 510,
    "OpenT2VCompareCache": 200, "OpenT2VDecode": 80, "OpenT2VLoadLora": 400, "LoadImage": 340, "CLIPVisionLoader": 70,
    "CLIPVisionEncode": 90,
}  # fmt: skip


def main() -> int:
    environment.ensure()
    pack.mount()
    made = {template.name: generation(template) for template in TEMPLATES}
    made |= {"video_to_video": video_to_video(), "finishing": finishing(), "step_cache": step_cache(), "lora": lora()}
    for name, graph in made.items():
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(graph.page(name), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path)
    return 0


@dataclass
class Graph:
    """A page under construction: columns of nodes from left to right, filled from above."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    left: int = 0
    top: int = 0
    width: int = 0

    def column(self, width: int) -> None:
        """Begin a column right of the last one."""
        self.left, self.top, self.width = (self.left + self.width + GAP if self.width else 0), 0, width

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
        node = self._node(kind, height or HEIGHTS[kind], widgets)
        node["properties"] = {**_origin(kind), "Node name for S&R": kind}
        if models:
            node["properties"] |= {"models": [one.link() for one in models]}
        node["inputs"] = [self._socket(node["id"], slot, one, links or {}) for slot, one in enumerate(sockets)]
        node["outputs"] = [{"name": name, "type": type_, "links": []} for name, type_ in outputs]
        return node["id"]

    def note(self, text: str, height: int, title: str = "How to / 说明") -> None:
        node = self._node("Note", height, [text])
        node |= {"title": title, "color": "#432", "bgcolor": "#653"}

    def page(self, name: str) -> dict[str, Any]:
        """The whole as the page saves it."""
        for node in self.nodes:
            for output in node["outputs"]:
                output["links"] = output["links"] or None
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://github.com/OpenT2V/opent2v/workflows/{name}")),
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": [],
            "config": {},
            "extra": {"ds": {"scale": SCALE, "offset": list(OFFSET)}, "frontendVersion": "1.27.10"},
            "version": 0.4,
        }

    def _node(self, kind: str, height: int, widgets: list[Any]) -> dict[str, Any]:
        node = {
            "id": len(self.nodes) + 1, "type": kind, "pos": [self.left, self.top], "size": [self.width, height],
            "flags": {}, "order": len(self.nodes), "mode": 0, "inputs": [], "outputs": [], "properties": {},
            "widgets_values": widgets,
        }  # fmt: skip
        self.top += height + GAP
        self.nodes.append(node)
        return node

    def _socket(
        self, target: int, slot: int, socket: dict[str, Any], links: Mapping[str, tuple[int, str]]
    ) -> dict[str, Any]:
        if socket["name"] not in links:
            return {**socket, "link": None}
        origin, wanted = links[socket["name"]]
        outputs = self.nodes[origin - 1]["outputs"]
        place = next(n for n, one in enumerate(outputs) if one["name"] == wanted)
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
    from opent2v.host.embedded.catalog import Catalog  # pyright: ignore[reportMissingImports]
    from opent2v.host.embedded.page import widget_layout  # pyright: ignore[reportMissingImports]
    from opent2v.nodes import NODE_CLASS_MAPPINGS  # pyright: ignore[reportMissingImports]

    catalog = Catalog(NODE_CLASS_MAPPINGS)
    inputs = catalog.inputs(kind)
    unknown = {*links, *values} - {*inputs, "upload", "control_after_generate"}
    if unknown:
        raise ValueError(f"{kind} has no input {', '.join(sorted(unknown))}; it has {', '.join(inputs)}")
    sockets: list[dict[str, Any]] = [
        {"name": one.name, **({} if one.is_required else {"shape": 7}), "type": one.type}
        for one in inputs.values()
        if not one.is_widget
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
        return {"cnr_id": "comfy-core", "ver": "0.3.64"}
    version = re.search(r'^version = "(.+)"', (pack.ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    return {"cnr_id": "opent2v", "ver": version[1]}


def generation(template: Template) -> Graph:
    """Loaders, prompt and picture, sampler, file."""
    graph = Graph()
    graph.column(420)
    published = [] if template.model.converted else [template.model]
    model = graph.add("OpenT2VLoadDiffusionModel", values={"file": template.model.name}, models=published)
    sampled = {"model": (model, "model")}
    if template.low:
        low = graph.add("OpenT2VLoadDiffusionModel", values={"file": template.low.name}, models=[template.low])
        sampled["low_noise_model"] = (low, "model")
    named = dict(zip(("file", "file_2"), (one.name for one in template.text), strict=False))
    clip = vae = model
    if template.text:
        chosen = {"file_2": "none"} | named
        clip = graph.add("OpenT2VLoadTextEncoder", {"model": (model, "model")}, chosen, template.text)
    if template.vae:
        vae = graph.add("OpenT2VLoadVAE", values={"file": template.vae.name}, models=[template.vae])
    vision = None
    if template.vision:
        vision = graph.add("CLIPVisionLoader", values={"clip_name": template.vision.name}, models=[template.vision])
    if not template.low:
        graph.note(_note(template), 300 if template.vision else 380)
    graph.column(400)
    told = {"positive": template.prompt, **template.values.get("OpenT2VEncodePrompt", {})}
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (clip, "clip")}, told)
    words = {name: (prompt, name) for name in ("positive", "negative")}
    if template.starts:
        picture = graph.add("LoadImage")
        given = {"model": (model, "model"), "vae": (vae, "vae"), **words, "start_image": (picture, "IMAGE")}
        if vision is not None:
            seen = {"clip_vision": (vision, "CLIP_VISION"), "image": (picture, "IMAGE")}
            given["clip_vision_output"] = (graph.add("CLIPVisionEncode", seen), "CLIP_VISION_OUTPUT")
        graph.column(340)
        latent = graph.add("OpenT2VImageToVideo", given)
        words = {name: (latent, name) for name in words}
    else:
        latent = graph.add("OpenT2VEmptyLatent", {"model": (model, "model")})
        if template.low:
            graph.note(_note(template), 360)
        graph.column(340)
    settings = {"seed": 1, **template.values.get("OpenT2VSampler", {})}
    sampler = graph.add("OpenT2VSampler", {**sampled, **words, "latent": (latent, "latent")}, settings)
    graph.column(420)
    graph.add("OpenT2VDecodeToVideo", _decoded(vae, sampler, latent))
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
    for one in template.files:
        if one.converted:
            original = one.path.rpartition("/")[2]
            lines += [f"• {original} ({one.gigabytes:g} GB) from {one.repository}, converted / 转换:"]
            lines += [f"   python3 scripts/convert.py {original} {one.name}", f"   {one.name} → models/{one.directory}"]
            continue
        lines += [f"• {one.name} ({one.gigabytes:g} GB)", f"   {one.repository} → models/{one.directory}"]
    lines += ["", "0 means the model's own value. " + template.english]
    return "\n".join([*lines, "", "0 表示模型自己的默认值。" + template.chinese])


def video_to_video() -> Graph:
    """The frames of a video, as a latent, made anew in part."""
    graph = Graph()
    graph.column(400)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    small = {"count": 17, "fps": 16, "width": 64, "height": 64}
    video = graph.add("OpenT2VLoadVideo", values={"file": CHOOSE_VIDEO, **small, "upload": "image"})
    graph.column(400)
    said = {"positive": "a yellow star moving to the right on a grey background"}
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (model, "clip")}, said)
    latent = graph.add("OpenT2VEncodeVideo", {"vae": (model, "vae"), "images": (video, "images")})
    graph.note(VIDEO_NOTE, 380)
    graph.column(340)
    sampler = graph.add("OpenT2VSampler", _sampled(model, prompt, latent), {"seed": 1, "denoise": 0.6})
    graph.column(420)
    graph.add("OpenT2VDecodeToVideo", _decoded(model, sampler, video), {"filename_prefix": "OpenT2V_anew"})
    return graph


def finishing() -> Graph:
    """The quickstart model, and steps between its frames and the file."""
    graph = Graph()
    graph.column(340)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    graph.note(FINISH_NOTE, 420)
    graph.column(400)
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (model, "clip")})
    latent = graph.add("OpenT2VEmptyLatent", {"model": (model, "model")})
    graph.column(340)
    sampler = graph.add("OpenT2VSampler", _sampled(model, prompt, latent), {"seed": 1})
    graph.column(340)
    colours = graph.add("OpenT2VColourMatch")
    rate = graph.add("OpenT2VFrameRate", {"finishing": (colours, "finishing")})
    shown = {"text": CAPTIONS, "size": 0.17}
    captions = graph.add("OpenT2VCaption", {"finishing": (rate, "finishing")}, shown)
    graph.column(420)
    steps = {"finishing": (captions, "finishing")}
    graph.add(
        "OpenT2VDecodeToVideo", {**_decoded(model, sampler, latent), **steps}, {"filename_prefix": "OpenT2V_finished"}
    )
    return graph


def step_cache() -> Graph:
    """The quickstart model measured, sampled by the plan that comes of it, and compared."""
    graph = Graph()
    graph.column(340)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    graph.note(CACHE_NOTE, 470)
    graph.column(400)
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (model, "clip")})
    latent = graph.add("OpenT2VEmptyLatent", {"model": (model, "model")})
    graph.column(340)
    given = _sampled(model, prompt, latent)
    same = {"seed": 1, "control_after_generate": "fixed"}
    measured = graph.add("OpenT2VCalibrateCache", given, same)
    chosen = {"policy": "auto", "target_speedup": 2.0, "predictor": "linear"}
    cache = graph.add("OpenT2VStepCache", {"profile": (measured, "profile")}, chosen)
    graph.column(340)
    sampler = graph.add("OpenT2VSampler", {**given, "step_cache": (cache, "step_cache")}, same, height=530)
    pictures = {
        name: (graph.add("OpenT2VDecode", {"vae": (model, "vae"), "latent": (made, "latent")}), "images")
        for name, made in (("images", sampler), ("reference_images", measured))
    }
    graph.add("OpenT2VCompareCache", pictures)
    graph.column(420)
    graph.add("OpenT2VDecodeToVideo", _decoded(model, sampler, latent), {"filename_prefix": "OpenT2V_cached"})
    return graph


def lora() -> Graph:
    """The quickstart model with its LoRA."""
    graph = Graph()
    graph.column(400)
    model = graph.add("OpenT2VLoadModel", values={"model": "opent2v-quickstart"})
    style = {"lora": "opent2v-quickstart-outline.safetensors"}
    styled = graph.add("OpenT2VLoadLora", {"model": (model, "model"), "clip": (model, "clip")}, style)
    graph.column(400)
    said = {"positive": "a white square moving to the right on a black background"}
    prompt = graph.add("OpenT2VEncodePrompt", {"clip": (styled, "clip")}, said)
    latent = graph.add("OpenT2VEmptyLatent", {"model": (styled, "model")})
    graph.note(LORA_NOTE, 370)
    graph.column(340)
    sampler = graph.add("OpenT2VSampler", _sampled(styled, prompt, latent), {"seed": 1})
    graph.column(420)
    graph.add("OpenT2VDecodeToVideo", _decoded(model, sampler, latent), {"filename_prefix": "OpenT2V_outline"})
    return graph


if __name__ == "__main__":
    raise SystemExit(console.guard(main))
