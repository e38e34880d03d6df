"""Changing values from outside, in the file's own format."""

from __future__ import annotations

import pytest

from opent2v.headless.overrides import override
from opent2v.headless.workflow import WorkflowError
from opent2v.tests.headless.flows import CLASSES, TITLES, api, load, page


def changed(flow, *changes):
    return override(flow, changes, CLASSES, TITLES)


@pytest.mark.parametrize("name", ["3", "Fake Sampler", "FakeSampler"])
@pytest.mark.parametrize("flow", [page, api])
def test_a_node_is_meant_by_id_title_or_class(flow, name):
    assert load(changed(flow(), f"{name}.steps=9"))["3"]["inputs"]["steps"] == 9


def test_the_pages_file_itself_changes_so_that_saved_videos_tell_the_truth():
    flow = page()
    after = changed(flow, "3.label=a=b.c", "Prompt.text=三角形", "3.tiled=yes", "3.cfg=2", "3.solver=reference")
    assert after["nodes"][2]["widgets_values"] == [77, "randomize", 12, 2.0, "reference", 4, "fixed", True, "a=b.c"]
    assert after["nodes"][1]["widgets_values"] == ["三角形"]
    assert flow == page()


def test_values_that_the_file_lacks_are_filled_in():
    after = changed(page("few_values"), "3.tiled=false")
    assert after["nodes"][2]["widgets_values"] == [5, "fixed", 7, 4.0, "reference", 3, "randomize", False, "none"]


def test_values_by_name_stay_by_name():
    flow = page()
    flow["nodes"][2]["widgets_values"] = {"steps": 5}
    assert changed(flow, "3.steps=6")["nodes"][2]["widgets_values"] == {"steps": 6}


def test_the_pages_primitive_node_takes_a_value():
    assert load(changed(page("primitive"), "Steps.value=15"))["3"]["inputs"]["steps"] == 15


@pytest.mark.parametrize(
    ("flow", "change", "message"),
    [
        (api(), "steps=4", r"cannot read 'steps=4'; expected NODE\.INPUT=VALUE"),
        (api(), "3.steps", r"cannot read '3\.steps'"),
        (
            api(),
            "Sampler.steps=4",
            r"cannot set Sampler\.steps: no node has the id, title or class 'Sampler'; .*3 \"Fake Sampler\"",
        ),
        (
            api(),
            "3.stepz=4",
            r"node 3 \"Fake Sampler\" .* has no input 'stepz' \(did you mean steps\?\); its values are seed, steps",
        ),
        (api(), "3.model=4", r"it takes a link \(MODEL\), not a value"),
        (api(), "3.steps=four", r"cannot set 3\.steps: is 'four'; expected a whole number"),
        (api(), "3.steps=0", r"cannot set 3\.steps: is 0; expected 1 to 100"),
        (api(), "3.solver=heun", r"is 'heun'; expected one of 'reference', 'euler'"),
        (api(), "3.tiled=maybe", r"is 'maybe'; expected true or false"),
        (api(n3={"steps": ["5", 0]}), "3.steps=4", r"input 'steps' of node 3 .* is fed by node 5; set the value there"),
        (
            page("widgets_as_inputs"),
            "3.steps=4",
            r"is fed by node 5 .*\(PrimitiveInt\); set the value there, or remove the link",
        ),
        (page("primitive"), "3.steps=4", r"is fed by node 5 \"Steps\" \(PrimitiveNode\)"),
        (
            page("bypassed_first"),
            "FakeLoad.name=first",
            r"2 nodes are called 'FakeLoad'; use the id of one of them: 1 .*, 11 ",
        ),
    ],
)
def test_what_cannot_be_set_is_explained(flow, change, message):
    with pytest.raises(WorkflowError, match=message):
        changed(flow, change)


def test_a_node_of_an_unknown_class_cannot_be_set():
    flow = api()
    flow["3"]["class_type"] = "Odd"
    with pytest.raises(WorkflowError, match=r"node 3 \(Odd\) is of an unknown class"):
        changed(flow, "3.steps=4")
