"""Subgraphs are unfolded as the page does; the expected prompt of the quickstart was recorded from ComfyUI's page."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from opent2v.headless.catalog import Catalog
from opent2v.headless.overrides import override
from opent2v.headless.workflow import WorkflowError, load_workflow
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.tests.headless.flows import CLASSES, TITLES, load

CASE = json.loads((Path(__file__).parent / "subgraph_case.json").read_text(encoding="utf-8"))


def slot(name, kind, link=None, widget=False):
    return {"name": name, "type": kind, "link": link, **({"widget": {"name": name}} if widget else {})}


def entry(number, kind, inputs=(), outputs=(), **more):
    return {
        "id": number,
        "type": kind,
        "inputs": list(inputs),
        "outputs": [{"name": name, "type": name} for name in outputs],
        **more,
    }


def link(number, origin, origin_slot, target, target_slot):
    ends = {"origin_id": origin, "origin_slot": origin_slot, "target_id": target, "target_slot": target_slot}
    return {"id": number, **ends, "type": "*"}


def text_subgraph():
    """CLIP and a promoted text in, CONDITIONING and the CLIP itself out."""
    inputs = [slot("clip", "CLIP", 1), slot("text", "STRING", 2, widget=True)]
    return {
        "id": "text-id",
        "name": "Text",
        "inputs": [{"name": "clip", "type": "CLIP"}, {"name": "words", "type": "STRING"}],
        "outputs": [{"name": "cond", "type": "CONDITIONING"}, {"name": "clip", "type": "CLIP"}],
        "nodes": [entry(5, "FakeText", inputs, ["CONDITIONING"], widgets_values=["inside"])],
        "links": [link(1, -10, 0, 5, 0), link(2, -10, 1, 5, 1), link(3, 5, 0, -20, 0), link(4, -10, 0, -20, 1)],
    }


def outer_subgraph():
    """The same once more around it, the inner node number 7."""
    inputs = [slot("clip", "CLIP", 1), slot("words", "STRING", 2, widget=True)]
    return {
        **text_subgraph(),
        "id": "outer-id",
        "name": "Outer",
        "nodes": [entry(7, "text-id", inputs, ["CONDITIONING", "CLIP"], widgets_values=["middle"])],
        "links": [link(1, -10, 0, 7, 0), link(2, -10, 1, 7, 1), link(3, 7, 0, -20, 0), link(4, 7, 1, -20, 1)],
    }


def flow(kind="text-id", values=("outside",), mode=0):
    """FakeLoad 1 -> subgraph 2 -> FakeSampler 3 -> FakeSave 4; FakeText 6 behind the CLIP that passes the subgraph."""
    inputs = [slot("clip", "CLIP", 11), slot("words", "STRING", None, widget=True)]
    nodes = [
        entry(1, "FakeLoad", [], ["MODEL", "CLIP", "VAE"], widgets_values=["first", "auto"]),
        entry(2, kind, inputs, ["CONDITIONING", "CLIP"], widgets_values=list(values), mode=mode),
        entry(3, "FakeSampler", [slot("model", "MODEL", 10), slot("positive", "CONDITIONING", 12)], ["LATENT"]),
        entry(4, "FakeSave", [slot("latent", "LATENT", 13)], ["STRING"]),
        entry(6, "FakeText", [slot("clip", "CLIP", 14)], ["CONDITIONING"], widgets_values=["behind"]),
    ]
    links = [[10, 1, 0, 3, 0, "*"], [11, 1, 1, 2, 0, "*"], [12, 2, 0, 3, 1, "*"], [13, 3, 0, 4, 0, "*"]]
    links.append([14, 2, 1, 6, 0, "*"])
    return {
        "nodes": nodes,
        "links": links,
        "definitions": {"subgraphs": [text_subgraph(), outer_subgraph()]},
    }


def refused(workflow, message):
    with pytest.raises(WorkflowError, match=message):
        load(workflow)


def test_the_prompt_equals_what_the_page_sends():
    graph = load_workflow(copy.deepcopy(CASE["workflow"]), NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS)
    catalog = Catalog(NODE_CLASS_MAPPINGS)
    assert {node_id: (node["class_type"], node["title"]) for node_id, node in graph.items()} == {
        node_id: (node["class_type"], node["_meta"]["title"]) for node_id, node in CASE["prompt"].items()
    }
    for node_id, sent in CASE["prompt"].items():
        # Some inputs of the nodes came and went since the recording.
        common = sent["inputs"].keys() & catalog.inputs(sent["class_type"]).keys()
        inputs = graph[node_id]["inputs"]
        assert {name: inputs.get(name) for name in common} == {name: sent["inputs"][name] for name in common}
        assert [name for name in inputs if isinstance(inputs[name], list)] == [
            name for name, value in sent["inputs"].items() if isinstance(value, list)
        ]
    assert graph.workflow == CASE["workflow"] and not graph.problems


@pytest.mark.parametrize(("kind", "way"), [("text-id", "2:5"), ("outer-id", "2:7:5")])
def test_links_and_values_pass_through_however_deep(kind, way):
    graph = load(flow(kind))
    assert graph[way] == {
        "class_type": "FakeText",
        "inputs": {"clip": ["1", 1], "text": "outside"},
        "title": "FakeText",
    }
    assert graph["3"]["inputs"]["positive"] == [way, 0]
    assert graph["6"]["inputs"]["clip"] == ["1", 1]
    assert list(graph) == ["1", way, "3", "4", "6"] and not graph.problems


@pytest.mark.parametrize(("kind", "way", "text"), [("text-id", "2:5", "inside"), ("outer-id", "2:7:5", "middle")])
def test_without_a_value_outside_the_next_one_inside_counts(kind, way, text):
    """So did pages before 1.47, which leave the list of values empty."""
    assert load(flow(kind, values=()))[way]["inputs"]["text"] == text


def test_values_by_name_come_first():
    workflow = flow()
    workflow["nodes"][1]["widgets_values_named"] = {"words": "named"}
    assert load(workflow)["2:5"]["inputs"]["text"] == "named"


def test_a_link_from_outside_replaces_the_value():
    workflow = flow()
    workflow["nodes"].append(entry(9, "PrimitiveNode", [], ["STRING"], widgets_values=["by primitive"]))
    workflow["nodes"][1]["inputs"][1]["link"] = 15
    workflow["links"].append([15, 9, 0, 2, 1, "STRING"])
    assert load(workflow)["2:5"]["inputs"]["text"] == "by primitive"
    workflow["nodes"][-1] = entry(9, "PrimitiveString", [], ["STRING"], widgets_values=["linked"])
    assert load(workflow)["2:5"]["inputs"]["text"] == ["9", 0]


def test_a_muted_subgraph_sends_nothing_and_a_bypassed_one_lets_its_clip_through():
    muted = load(flow(mode=2))
    assert list(muted) == ["1", "3", "4", "6"]
    assert "positive" not in muted["3"]["inputs"] and "clip" not in muted["6"]["inputs"]
    bypassed = load(flow(mode=4))
    assert list(bypassed) == ["1", "3", "4", "6"] and bypassed["6"]["inputs"]["clip"] == ["1", 1]


def test_an_input_that_is_not_connected_outside_is_not_sent():
    workflow = flow()
    workflow["nodes"][1]["inputs"][0]["link"] = None
    graph = load(workflow)
    assert "clip" not in graph["2:5"]["inputs"] and "clip" not in graph["6"]["inputs"] and not graph.problems


def test_values_are_set_where_the_page_keeps_them():
    changed = override(flow("outer-id"), ["2:7:5.text=new"], CLASSES, TITLES)
    assert changed["nodes"][1]["widgets_values"] == ["new"]
    assert load(changed)["2:7:5"]["inputs"]["text"] == "new"
    changed = override(flow(values=()), ["2:5.text=new"], CLASSES, TITLES)
    assert changed["definitions"]["subgraphs"][0]["nodes"][0]["widgets_values"] == ["new"]
    assert load(changed)["2:5"]["inputs"]["text"] == "new"


def test_a_value_that_two_uses_share_is_not_set_for_one_of_them():
    workflow = flow(values=())
    workflow["nodes"].append(entry(8, "text-id", [slot("clip", "CLIP", 11)], ["CONDITIONING", "CLIP"]))
    assert load(workflow)["8:5"]["inputs"] == {"clip": ["1", 1], "text": "inside"}
    with pytest.raises(WorkflowError, match=r"subgraph that is used 2 times \(2:5, 8:5\), and the file has one value"):
        override(workflow, ["2:5.text=new"], CLASSES, TITLES)


def test_broken_subgraphs_are_refused():
    workflow = flow()
    del workflow["definitions"]["subgraphs"][0]["nodes"]
    refused(workflow, r'node 2 "Text" is a subgraph of which the file holds no nodes; save the workflow again')
    workflow = flow("outer-id")
    workflow["definitions"]["subgraphs"][1]["nodes"][0]["type"] = "outer-id"
    refused(workflow, r'node 2:7 "Outer" is a subgraph that holds itself; save the workflow again')
    workflow = flow()
    workflow["definitions"]["subgraphs"][0]["links"] = [{"id": 3}]
    refused(workflow, r"broken link: \{'id': 3\}\. Save it again")
    workflow = flow()
    workflow["definitions"]["subgraphs"][0]["nodes"][0]["type"] = "workflow>old"
    refused(workflow, r"is a group node, which is not supported headless.*Convert to nodes")


def test_a_circle_of_passing_links_ends():
    """The subgraph's second output feeds its own first input."""
    workflow = flow()
    workflow["nodes"][1]["inputs"][0]["link"] = 14
    assert "clip" not in load(workflow)["2:5"]["inputs"]
