"""What users saved with earlier versions loads, means the same and runs as it did."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from opent2v.headless import runner
from opent2v.headless.workflow import Graph, WorkflowError, load_workflow, validate
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.tests.tiny import wan as tiny

HERE = Path(__file__).parent
ALL = sorted(path for path in HERE.glob("*/*.json") if not path.stem.endswith("_api"))

# A digest of each version's files. Recorded once, for ever: what users saved does not change, so from then on inputs,
# choices and outputs of nodes are only appended. Where a test here fails, mend the node; a release adds a line.
DIGESTS = {"0.1.0": "d893c88d193ed5d861eb9c1945f41b2d284a9f25646f310b18114a414f4fdc71"}


def load(path: Path) -> Graph:
    graph = load_workflow(path.read_text(encoding="utf-8"), NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS)
    validate(graph, NODE_CLASS_MAPPINGS)
    return graph


def api_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}_api.json")


def name_of(path: Path) -> str:
    return path.relative_to(HERE).as_posix()


def digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.json")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def test_every_release_is_here_as_it_was_recorded():
    assert {path.parent.name for path in ALL} == DIGESTS.keys()
    changed = [version for version, recorded in DIGESTS.items() if digest(HERE / version) != recorded]
    assert not changed, f"{changed}: take the files back from git; they are what users saved, and are never edited"
    assert {"quickstart", "guided", "finishing", "lora"} <= {path.stem for path in (HERE / "0.1.0").iterdir()}
    assert [name_of(path) for path in ALL if not api_of(path).is_file()] == []


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_it_loads_validates_and_means_the_same(path):
    """The API file was made by the version itself: it says which value each position meant."""
    saved, meant = load(path), json.loads(api_of(path).read_text(encoding="utf-8"))
    found = {node_id: (node["class_type"], node["inputs"]) for node_id, node in saved.items()}
    for node_id, node in meant.items():
        kind, inputs = found[node_id]
        assert kind == node["class_type"]
        assert {name: inputs.get(name) for name in node["inputs"]} == node["inputs"]
    assert list(found) == list(meant)
    load(api_of(path))


def latents(graph: Graph) -> list[torch.Tensor]:
    """What the samplers of a graph make, in four steps."""
    found = []
    for node in graph.values():
        if node["class_type"] == "OpenT2VSampler":
            node["inputs"]["steps"] = 4

    def keep(node_id, result):
        if result is not None and graph[node_id]["class_type"] == "OpenT2VSampler":
            found.append(result["outputs"][0]["samples"].clone())

    runner.run(graph, NODE_CLASS_MAPPINGS, on_node=keep)
    return found


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_both_formats_run_to_the_same_latents(path):
    if not (tiny.BUNDLED / "model_index.json").is_file():
        pytest.skip("the bundled model is not there")
    page, api = latents(load(path)), latents(load(api_of(path)))
    assert len(page) == len(api) > 0
    for one, other in zip(page, api, strict=True):
        assert torch.equal(one, other) and bool(one.std() > 0.1)


@pytest.mark.parametrize("change", [{"denoise": None}, {"denoise": "strength"}])
def test_a_changed_input_is_noticed(monkeypatch, change):
    """An input that is gone or has another name."""
    node = NODE_CLASS_MAPPINGS["OpenT2VSampler"]
    declared = node.INPUT_TYPES()
    declared["required"] = {
        change.get(name, name): entry for name, entry in declared["required"].items() if change.get(name, name)
    }
    monkeypatch.setattr(node, "INPUT_TYPES", classmethod(lambda cls: declared))
    with pytest.raises((AssertionError, WorkflowError)):
        test_it_loads_validates_and_means_the_same(ALL[0])
