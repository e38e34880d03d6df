"""The page's format is read as the page itself reads it: the expected prompts were recorded from ComfyUI's page."""

from __future__ import annotations

import json

import pytest

from opent2v.headless.workflow import WorkflowError, load_workflow, validate
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.scripts.pack import ROOT
from opent2v.tests.headless.flows import CASES, CLASSES, load, page


@pytest.mark.parametrize("name", CASES)
def test_the_prompt_equals_what_the_page_sends(name):
    assert load(page(name)).prompt() == CASES[name]["prompt"], CASES[name]["about"]


def test_widget_values_may_come_by_name():
    flow = page()
    flow["nodes"][2]["widgets_values"] = {"steps": 5, "seed": 6}
    inputs = load(flow)["3"]["inputs"]
    assert (inputs["steps"], inputs["seed"], inputs["cfg"]) == (5, 6, 4.0)


def test_the_workflow_itself_is_kept_for_saved_files():
    flow = page()
    assert load(flow).workflow == flow


@pytest.mark.parametrize(
    ("prefix", "sent"),
    [
        ("%Video Sampler.seed%_%OpenT2VSampler.cfg%", "11_2.5"),  # by title, and by the name for search and replace
        ("%Video Sampler.denoise%", "1"),  # as JavaScript writes 1.0
        ("%Encode Video Prompt.positive%", "a_b"),
        ("%mine.seed%", "11"),
        ("%Video Sampler.nothing%%nobody.seed%", "%Video Sampler.nothing%%nobody.seed%"),
        ("%date:yyyy%%width%", "%date:yyyy%%width%"),  # for the node itself
    ],
)
def test_names_of_files_take_values_of_nodes(prefix, sent):
    flow = json.loads((ROOT / "workflows" / "quickstart.json").read_text(encoding="utf-8"))
    nodes = {node["type"]: node for node in flow["nodes"]}
    sampler, save = nodes["OpenT2VSampler"], nodes["OpenT2VSaveVideo"]
    sampler["widgets_values"][:6] = [11, "fixed", 0, 2.5, 0.0, "reference"]
    nodes["OpenT2VEncodePrompt"]["widgets_values"][0] = "a/b"
    if "mine" in prefix:
        sampler["properties"]["Node name for S&R"] = "mine"
    save["widgets_values"][1] = prefix
    graph = load_workflow(flow, NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS)
    assert graph[str(save["id"])]["inputs"]["filename_prefix"] == sent


def test_a_list_value_is_wrapped_so_that_it_is_no_link():
    flow = page()
    flow["nodes"][2]["widgets_values"][2] = [1, 2]
    assert load(flow)["3"]["inputs"]["steps"] == {"__value__": [1, 2]}


def test_a_renamed_node_keeps_its_title_and_others_get_the_display_name():
    graph = load(page())
    assert [node["title"] for node in graph.values()] == ["FakeLoad", "Prompt", "Fake Sampler", "FakeSave"]


def test_group_nodes_are_refused_with_what_to_do():
    flow = page()
    flow["nodes"][0]["type"] = "workflow>Loader"
    with pytest.raises(WorkflowError, match=r'node 1 "workflow>Loader" is a group node.*Convert to nodes'):
        load(flow)


def _broken_links(flow):
    flow["links"] = [[1]]


def _missing_link(flow):
    flow["links"] = flow["links"][1:]


def _link_to_nowhere(flow):
    flow["links"][0][1] = 99


def _same_id(flow):
    flow["nodes"][1]["id"] = 1


def _no_type(flow):
    del flow["nodes"][0]["type"]


def _circle(flow):
    for reroute, link, other in ((20, 30, 31), (21, 31, 30)):
        slots = {"inputs": [{"name": "", "type": "*", "link": other}], "outputs": [{"name": "", "type": "*"}]}
        flow["nodes"].append({"id": reroute, "type": "Reroute", **slots})
        flow["links"].append([link, reroute, 0, 41 - reroute, 0, "*"])
    flow["nodes"][2]["inputs"][0]["link"] = 30


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_broken_links, r"broken link: \[1\]\. Save it again"),
        (_missing_link, r"node 3 .*input 'model' refers to link 1, which the file does not have; connect it again"),
        (_link_to_nowhere, r"node 3 .*input 'model' is linked to node 99, which the file does not have"),
        (_same_id, r"two nodes of this workflow have the id 1"),
        (_no_type, r"a node without id or type"),
        (_circle, r"node 3 .*input 'model' is fed by reroutes or bypassed nodes that form a circle"),
    ],
)
def test_a_broken_file_is_refused(spoil, message):
    flow = page()
    spoil(flow)
    with pytest.raises(WorkflowError, match=message):
        validate(load(flow), CLASSES)


@pytest.mark.parametrize(
    "junk",
    [
        {
            "nodes": [
                {"id": 1, "type": "FakeLoad", "inputs": 3, "outputs": {"a": 1}, "widgets_values": "x", "properties": []}
            ]
        },
        {"nodes": [{"id": [], "type": "FakeSave", "inputs": [{"link": {}}, 4, None], "mode": "x"}], "links": {"a": 1}},
        {"nodes": [{"id": 1, "type": "PrimitiveNode", "widgets_values": []}], "links": [None], "definitions": 3},
    ],
)
def test_junk_is_a_workflow_error_or_nothing_worse(junk):
    with pytest.raises(WorkflowError):
        validate(load(junk), CLASSES)
