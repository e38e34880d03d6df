"""Reading both formats, and refusing what cannot run before anything runs."""

from __future__ import annotations

import json

import pytest

from opent2v.headless.workflow import WorkflowError, read_json, validate
from opent2v.tests.headless.flows import CLASSES, api, load, page


def problems(flow, classes=CLASSES) -> str:
    with pytest.raises(WorkflowError) as caught:
        validate(load(flow), classes)
    return str(caught.value)


def test_both_formats_are_read_from_text():
    assert load(json.dumps(page())).workflow is not None
    graph = load(json.dumps(api()))
    assert graph["3"]["inputs"]["model"] == ["1", 0]
    assert graph.workflow is None
    assert graph["2"]["title"] == "Prompt"


def test_a_prompt_as_posted_to_the_server_is_unwrapped():
    assert list(load(json.dumps({"prompt": api(), "client_id": "x"}))) == ["1", "2", "3", "4"]


def test_a_good_workflow_passes():
    validate(load(api()), CLASSES)
    validate(load(page()), CLASSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"not JSON \(line 1: .*expected a workflow saved by ComfyUI"),
        ("[1]", r"holds list data"),
        ("{}", r"this workflow is empty"),
        ('{"a": 1}', r"entry 'a' is no node \(expected class_type and inputs\)"),
        ("[" * 100_000, r"nests its values too deeply|not JSON"),
    ],
)
def test_what_is_no_workflow_is_refused(text, message):
    with pytest.raises(WorkflowError, match=message):
        load(text)


def test_a_byte_order_mark_is_no_trouble():
    assert read_json("\ufeff{}") == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"n3": {"model": None}},
            "node 3 \"Fake Sampler\" (FakeSampler): required input 'model' (MODEL) is missing; link it",
        ),
        ({"n3": {"steps": None}}, "required input 'steps' (INT) is missing; give it a value or a link"),
        ({"n3": {"steps": 0}}, "input 'steps' is 0; expected 1 to 100"),
        ({"n3": {"steps": 101}}, "input 'steps' is 101; expected 1 to 100"),
        ({"n3": {"steps": 2.5}}, "input 'steps' is 2.5; expected a whole number"),
        ({"n3": {"steps": "many"}}, "input 'steps' is 'many'; expected a whole number"),
        ({"n3": {"steps": True}}, "input 'steps' is True; expected a whole number"),
        ({"n3": {"cfg": float("nan")}}, "input 'cfg' is nan; expected a number"),
        ({"n3": {"cfg": "high"}}, "input 'cfg' is 'high'; expected a number"),
        ({"n3": {"tiled": "false"}}, "input 'tiled' is 'false'; expected true or false"),
        ({"n2": {"text": {"a": 1}}}, "input 'text' is {'a': 1}; expected text"),
        (
            {"n3": {"solver": "eular"}},
            "input 'solver' is 'eular' (did you mean 'euler'?); expected one of 'reference', 'euler'",
        ),
        ({"n3": {"model": "wan"}}, "input 'model' is 'wan'; expected a link from a node that gives MODEL"),
        (
            {"n3": {"model": ["1", 2]}},
            "input 'model' takes MODEL, but is linked to output 2 of node 1 (FakeLoad), which gives VAE",
        ),
        ({"n3": {"model": ["9", 0]}}, "input 'model' is linked to node 9, which the workflow does not have"),
        (
            {"n3": {"model": ["1", 3]}},
            "is linked to output 3 of node 1 (FakeLoad), which has 3 outputs, counted from 0",
        ),
        ({"n3": {"model": ["1"]}}, "input 'model' is ['1']; a list means a link and must be [node id, output number]"),
        ({"n3": {"stepz": 4}}, "has no input 'stepz'; its inputs are model, positive, seed, steps"),
    ],
)
def test_a_bad_input_is_named_with_its_node(changes, message):
    assert message in problems(api(**changes))


def test_all_problems_are_told_at_once():
    text = problems(api(n3={"steps": 0, "cfg": -1}, n2={"clip": None}))
    assert text.startswith("this workflow cannot run (3 problems found, nothing was run):\n")
    assert len(text.splitlines()) == 4


def test_numbers_may_come_as_text_and_whole_numbers_as_floats():
    validate(load(api(n3={"steps": "20", "cfg": "4.5", "seed": 3.0})), CLASSES)


def test_an_unknown_node_says_whether_comfyui_has_it():
    flow = api()
    flow["3"]["class_type"] = "KSampler"
    assert "node 3 (KSampler): KSampler is a node of ComfyUI itself and needs ComfyUI" in problems(flow)
    flow["3"]["class_type"] = "FakeSamplr"
    assert "unknown node class FakeSamplr; did you mean FakeSampler? Headless, only this pack's nodes" in problems(flow)


def test_the_pages_file_says_where_an_unknown_node_comes_from():
    flow = page()
    flow["nodes"][2].update(type="Odd", properties={"cnr_id": "odd-pack"})
    assert "unknown node class Odd (from the pack odd-pack)" in problems(flow)
    flow["nodes"][2]["properties"]["cnr_id"] = "comfy-core"
    assert "node 3 (Odd): Odd is a node of ComfyUI itself" in problems(flow)


def test_a_circle_is_told_in_order():
    flow = api()
    flow["5"] = {
        "class_type": "FakePatch",
        "inputs": {"strength": 1.0, "model": ["6", 1], "other": ["1", 0], "clip": ["1", 1]},
    }
    flow["6"] = {
        "class_type": "FakePatch",
        "inputs": {"strength": 1.0, "model": ["5", 1], "other": ["1", 0], "clip": ["1", 1]},
    }
    flow["3"]["inputs"]["model"] = ["5", 1]
    assert (
        "circle: node 6 (FakePatch) -> node 5 (FakePatch) -> node 6 (FakePatch); remove one of the links"
        in problems(flow)
    )


def test_a_workflow_without_output_is_refused():
    flow = api()
    del flow["4"]
    assert "no node saves or shows anything" in problems(flow)
    assert "holds no node that could run" in problems({"nodes": [{"id": 1, "type": "Note"}], "links": []})


def test_nodes_that_feed_no_output_may_be_unfinished():
    flow = api()
    flow["7"] = {"class_type": "FakeText", "inputs": {}}
    validate(load(flow), CLASSES)


class OwnCheck(CLASSES["FakeSave"]):
    @classmethod
    def VALIDATE_INPUTS(cls, number, input_types):
        if number > 10:
            raise RuntimeError("odd")
        return number != 7 or f"seven is taken, {input_types['latent']} too"


@pytest.mark.parametrize(
    ("number", "message"),
    [(7, "node 4 (FakeSave): seven is taken, INT too"), (11, "its own check of the inputs failed: RuntimeError: odd")],
)
def test_a_class_may_check_its_inputs_itself(number, message):
    """It then judges limits (max is 10) and types alone."""
    flow = api(n4={"number": number, "latent": ["3", 1]})
    assert message in problems(flow, {**CLASSES, "FakeSave": OwnCheck})
    validate(load(api(n4={"number": 3, "latent": ["3", 1]})), {**CLASSES, "FakeSave": OwnCheck})
