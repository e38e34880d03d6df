"""The subgraph blueprints: each is what the script writes, holds nothing that is missing, and they run as a chain.

Tests: subgraphs/
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import pytest

from opent2v.headless import runner, workflow
from opent2v.host import embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.tests.workflows import tiny_files
from opent2v.tests.workflows.core_nodes import CORE_CLASSES, CORE_TITLES

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "subgraphs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
CLASSES = {**NODE_CLASS_MAPPINGS, **CORE_CLASSES}
TITLES = {**NODE_DISPLAY_NAME_MAPPINGS, **CORE_TITLES}
TEXT, PICTURE, MORE, SAVE = (
    f"{title} (OpenT2V)" for title in ("Text to Video", "Image to Video", "Continue Video", "Finish and Save")
)
LOADED = ("model", "clip", "vae")
LOADERS = {"model": "OpenT2VLoadDiffusionModel", "clip": "OpenT2VLoadTextEncoder", "vae": "OpenT2VLoadVAE"}
PROMPT = "a red triangle moving to the right on a black background"


def read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


class Chain:
    """A page of blueprints and of nodes with outputs, wired by names."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.links: list[list[Any]] = []
        self.subgraphs: list[dict[str, Any]] = []

    def node(
        self, kind: str, outputs: tuple[str, ...], widgets: list[Any], links: dict[str, tuple[int, str]] | None = None
    ) -> int:
        node = {
            "id": len(self.nodes) + 1, "type": kind, "mode": 0, "widgets_values": widgets,
            "inputs": [{"name": name, "type": "*", "link": None} for name in links or {}],
            "outputs": [{"name": name, "type": "*", "links": []} for name in outputs],
        }  # fmt: skip
        return self._wired(node, links or {})

    def _wired(self, node: dict[str, Any], links: dict[str, tuple[int, str]]) -> int:
        slots = {slot["name"]: (place, slot) for place, slot in enumerate(node["inputs"])}
        for name, (origin, output) in links.items():
            target, slot = slots[name]
            outputs = self.nodes[origin - 1]["outputs"]
            place = next(n for n, entry in enumerate(outputs) if entry["name"] == output)
            slot["link"] = len(self.links) + 1
            self.links.append([slot["link"], origin, place, node["id"], target, slot["type"]])
            outputs[place]["links"].append(slot["link"])
        self.nodes.append(node)
        return node["id"]

    def blueprint(self, name: str, links: dict[str, tuple[int, str]], **values: Any) -> int:
        """Put a blueprint behind other nodes, with values for its widgets."""
        data = read(name)
        (subgraph,), (whole,) = data["definitions"]["subgraphs"], data["nodes"]
        whole |= {"id": len(self.nodes) + 1, "widgets_values_named": values}
        for entry in whole["outputs"]:
            entry["links"] = []
        self.subgraphs.append(subgraph)
        return self._wired(whole, links)

    def page(self) -> dict[str, Any]:
        return {"nodes": self.nodes, "links": self.links, "definitions": {"subgraphs": self.subgraphs}}


def loaded(chain: Chain) -> dict[str, tuple[int, str]]:
    model = chain.node("OpenT2VLoadModel", NODE_CLASS_MAPPINGS["OpenT2VLoadModel"].RETURN_NAMES, ["opent2v-quickstart"])
    return {port: (model, port) for port in LOADED}


def run(chain: Chain, folder: Path, **folders: Path) -> list[Any]:
    """Run the page on the embedded host and return the frames of the file that it leaves."""
    embedded.configure(output=folder, **folders)
    graph = workflow.load_workflow(chain.page(), CLASSES, TITLES)
    workflow.validate(graph, CLASSES)
    runner.run(graph, CLASSES)
    (video,) = folder.glob("*.mp4")
    with av.open(str(video)) as container:
        assert container.streams.video[0].average_rate == 32
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_there_is_one_for_each_main_chain():
    assert {TEXT, PICTURE, MORE, SAVE} < set(NAMES)


def test_they_are_what_the_script_writes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "make"))
    import blueprints

    assert blueprints.all_blueprints() == {name: read(name) for name in NAMES}, "run scripts/make/blueprints.py"


@pytest.mark.parametrize("name", NAMES)
def test_its_form_is_that_of_a_blueprint_of_the_page(name):
    data = read(name)
    (whole,), (subgraph,) = data["nodes"], data["definitions"]["subgraphs"]
    assert whole["type"] == subgraph["id"] and whole["title"] == subgraph["name"] == name
    assert subgraph["category"] == "OpenT2V" and " / " in subgraph["description"]
    assert {node["type"] for node in subgraph["nodes"]} <= set(NODE_CLASS_MAPPINGS)
    assert {slot["name"] for slot in whole["inputs"]} == {port["name"] for port in subgraph["inputs"]}
    links = {link["id"]: link for link in subgraph["links"]}
    fed = [link for port in subgraph["inputs"] for link in port["linkIds"]]
    assert sorted(fed) == sorted(number for number, link in links.items() if link["origin_id"] == -10)
    for place, port in enumerate(subgraph["inputs"]):
        begun = {(links[link]["origin_slot"], links[link]["type"]) for link in port["linkIds"]}
        assert begun == {(place, port["type"])}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_node_inside_must_have_is_there(name):
    """A socket of a node inside that is not optional is fed; what is left for the user is a socket of the whole."""
    data = read(name)
    (whole,), (subgraph,) = data["nodes"], data["definitions"]["subgraphs"]
    for node in subgraph["nodes"]:
        for slot in node["inputs"]:
            assert slot["link"] is not None or slot.get("shape") == 7, (node["type"], slot["name"])
    needed = {slot["name"] for slot in whole["inputs"] if "widget" not in slot and slot.get("shape") != 7}
    assert needed == {"images"} if name == SAVE else needed >= {"model", "clip", "vae"}


def test_text_to_video_continue_and_finish_run_as_one_chain(tmp_path):
    chain = Chain()
    model = loaded(chain)
    first = chain.blueprint(TEXT, model, positive=PROMPT, steps=4)
    clip = {"images": (first, "images")}
    more = chain.blueprint(MORE, {**model, **clip}, positive=PROMPT, steps=4, overlap=5)
    chain.blueprint(SAVE, {"images": (more, "images"), "fps": (more, "fps")}, frame_rate=32, caption="OpenT2V")
    frames = run(chain, tmp_path)
    assert len(frames) == 2 * (33 + 33 - 5), "two clips of 33 frames that share 5, at twice their frame rate"
    white = frames[0].min(-1)  # the shape is of one colour, the letters are of all
    assert white[-12:].max() > 120 > white[:12].max(), "the caption, at the bottom"


def test_image_to_video_runs(tmp_path):
    """On tiny weights of the files that people have."""
    flow = json.loads((ROOT / "workflows" / "wan2.2_5b_image_to_video.json").read_text(encoding="utf-8"))
    models = tmp_path / "models"
    tiny_files.put(models, tiny_files.asked(flow))
    chain = Chain()
    files = {node["type"]: node["widgets_values"] for node in flow["nodes"]}
    returns = {kind: NODE_CLASS_MAPPINGS[kind].RETURN_NAMES for kind in LOADERS.values()}
    model = chain.node(LOADERS["model"], returns[LOADERS["model"]], files[LOADERS["model"]])
    need = {"clip": {"model": (model, "model")}, "vae": {}}
    others = {port: (LOADERS[port], need[port]) for port in need}
    ids = {port: chain.node(kind, returns[kind], files[kind], links) for port, (kind, links) in others.items()}
    ids["model"] = model
    picture = chain.node("LoadImage", ("IMAGE", "MASK"), ["example.png", "image"])
    links = {**{port: (number, port) for port, number in ids.items()}, "start_image": (picture, "IMAGE")}
    size = {"width": 64, "height": 64, "frames": 5}
    first = chain.blueprint(PICTURE, links, positive="waves", steps=2, **size)
    chain.blueprint(SAVE, {"images": (first, "images"), "fps": (first, "fps")}, frame_rate=32, match_colours=0.0)
    frames = run(chain, tmp_path / "videos", models=models)
    assert len(frames) == 10 and frames[0].shape == (64, 64, 3), "5 frames at 16 per second, at 32"
