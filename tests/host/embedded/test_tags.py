"""What a saved file says about how it was made. Tests: host/tags.py"""

from __future__ import annotations

import json

import pytest

from opent2v.host import embedded
from opent2v.host.tags import graph_tags, summary, version
from opent2v.tests.tiny import wan as tiny

PROMPT = {
    "1": {"class_type": "OpenT2VLoadModel", "inputs": {"model": "Wan2.1-T2V-1.3B-Diffusers", "dtype": "auto"}},
    "2": {
        "class_type": "LoraLoaderModelOnly",
        "inputs": {"model": ["1", 0], "lora_name": "a.safetensors", "strength_model": 0.8},
    },
    "3": {"class_type": "OpenT2VSampler", "inputs": {"model": ["2", 0], "seed": ["9", 0], "steps": 20}},
    "4": {"class_type": "OpenT2VSaveVideo", "inputs": {"images": ["3", 0]}},
    "5": {"class_type": "OpenT2VLoadModel", "inputs": {"model": "another"}},
    "6": {"class_type": "OpenT2VSaveVideo", "inputs": {"images": ["5", 0]}},
    "9": {"class_type": "PrimitiveInt", "inputs": {"value": 7}},
}


def test_a_summary_of_what_leads_to_the_saving_node():
    assert summary(PROMPT, "4") == {
        "version": version(),
        "models": ["Wan2.1-T2V-1.3B-Diffusers"],
        "seeds": [7],
        "loras": [{"name": "a.safetensors", "strength": 0.8}],
    }
    assert summary(PROMPT, "6") == {"version": version(), "models": ["another"]}


def test_the_whole_graph_where_the_node_is_not_known():
    for node in (None, "77", "4.0.1"):
        assert summary(PROMPT, node)["models"] == ["Wan2.1-T2V-1.3B-Diffusers", "another"]


def test_what_the_run_knows_is_added():
    info = {"family": "wan", "cache": "12 of 20 steps computed"}
    assert summary(PROMPT, "6", info) == {"version": version(), "models": ["another"], **info}


@pytest.mark.parametrize("prompt", [None, {}, {"1": {"class_type": "KSampler", "inputs": {"seed": 3}}}, {"1": {}}, []])
def test_nothing_is_said_about_graphs_without_this_pack(prompt):
    assert summary(prompt) == {}
    assert "opent2v" not in graph_tags(prompt, None)


def test_links_in_a_circle_come_to_an_end():
    circle = {
        "1": {"class_type": "OpenT2VA", "inputs": {"x": ["2", 0]}},
        "2": {"class_type": "B", "inputs": {"x": ["1", 0], "seed": 5}},
    }
    assert summary(circle, "1")["seeds"] == [5]


def test_tags_are_json():
    tags = embedded.file_metadata(PROMPT, {"workflow": {"nodes": []}}, "4", {"family": "wan"})
    assert set(tags) == {"prompt", "workflow", "opent2v"}
    assert json.loads(tags["prompt"]) == PROMPT
    assert json.loads(tags["opent2v"]) == summary(PROMPT, "4", {"family": "wan"})


def test_the_version_is_that_of_the_pack():
    assert f'version = "{version()}"' in (tiny.ROOT / "pyproject.toml").read_text(encoding="utf-8")
