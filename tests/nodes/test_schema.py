"""Nodes change only in ways that leave saved workflows as they are; schema.py says how to record a change.

Tests: nodes/
"""

from __future__ import annotations

import copy
import json

import pytest

from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.tests.nodes.schema import FILE, breaks, schema

BY_POSITION = "Values are saved by position: keep names and order"
NEW_INPUT = 'a new input goes to the end of "optional", with a default that keeps the old behaviour'
KEEP = "Saved workflows rely on it: keep it as it was"


def test_saved_workflows_keep_their_meaning():
    assert breaks(json.loads(FILE.read_text(encoding="utf-8")), schema(NODE_CLASS_MAPPINGS)) == []


class Node:
    """A node to be changed by the tests below."""

    RETURN_TYPES = ("LATENT", "INT")
    RETURN_NAMES = ("latent", "seed")

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": (["a folder of today"], {"default": "a folder of today"}),
                "steps": ("INT", {"default": 0, "min": 0, "max": 100, "tooltip": "More: finer."}),
                "solver": (["euler", "heun"], {"default": "euler"}),
            },
            "optional": {"mask": ("MASK",)},
            "hidden": {"unique_id": "UNIQUE_ID"},
        }


@pytest.fixture
def before():
    return schema({"OpenT2VNode": Node})


def test_what_is_recorded(before):
    assert before["OpenT2VNode"]["inputs"] == [
        {"name": "model", "is_required": True, "type": "COMBO"},
        {"name": "steps", "is_required": True, "type": "INT", "default": 0, "min": 0, "max": 100},
        {
            "name": "solver",
            "is_required": True,
            "type": "COMBO",
            "choices": ["euler", "heun"],
            "default": "euler",
        },
        {"name": "mask", "is_required": False, "type": "MASK"},
    ]
    assert before["OpenT2VNode"]["outputs"] == [{"name": "latent", "type": "LATENT"}, {"name": "seed", "type": "INT"}]


def add_node(nodes):
    nodes["OpenT2VOther"] = {"inputs": [], "outputs": []}


def add_input(nodes, is_required=False):
    nodes["OpenT2VNode"]["inputs"].append({"name": "new", "is_required": is_required, "type": "INT", "default": 0})


def add_choice(nodes):
    nodes["OpenT2VNode"]["inputs"][2]["choices"].append("unipc")


def add_output(nodes):
    nodes["OpenT2VNode"]["outputs"].append({"name": "text", "type": "STRING"})


@pytest.mark.parametrize("change", [add_node, add_input, add_choice, add_output])
def test_additions_at_the_end_pass(before, change):
    after = copy.deepcopy(before)
    change(after)
    assert after != before and breaks(before, after) == []


def edit(n, **values):
    return lambda nodes: nodes["OpenT2VNode"]["inputs"][n].update(values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict.clear, f" is gone. {KEEP}, marked DEPRECATED, for one major version at least."),
        (
            lambda nodes: nodes["OpenT2VNode"]["inputs"].pop(1),
            f": input 2 was 'steps' and is 'solver' now. {BY_POSITION}; {NEW_INPUT}.",
        ),
        (
            lambda nodes: nodes["OpenT2VNode"]["inputs"].pop(),
            f": input 4 was 'mask' and is missing now. {BY_POSITION}; {NEW_INPUT}.",
        ),
        (
            lambda nodes: nodes["OpenT2VNode"]["inputs"].insert(1, {"name": "new", "is_required": True, "type": "INT"}),
            f": input 2 was 'steps' and is 'new' now. {BY_POSITION}; {NEW_INPUT}.",
        ),
        (
            lambda nodes: add_input(nodes, is_required=True),
            f": the new input 'new' is required, so saved workflows lack it: {NEW_INPUT}.",
        ),
        (edit(1, type="FLOAT"), f": input 'steps': type was 'INT' and is 'FLOAT' now. {KEEP}; {NEW_INPUT}."),
        (edit(3, is_required=True), f": input 'mask': is_required was False and is True now. {KEEP}; {NEW_INPUT}."),
        (edit(1, forceInput=True), f": input 'steps': forceInput was None and is True now. {KEEP}; {NEW_INPUT}."),
        (
            edit(1, default=20),
            f": input 'steps': default was 0 and is 20 now. {KEEP}; for another default make a new node or a major "
            "version.",
        ),
        (
            edit(1, max=50),
            f": input 'steps': max was 100 and is 50 now. {KEEP}; where the range only became wider, record it: "
            "python3 tests/nodes/schema.py --break",
        ),
        (
            edit(2, choices=["unipc", "euler", "heun"]),
            ": input 'solver': choices was ['euler', 'heun'] and is ['unipc', 'euler', 'heun'] now. "
            f"{KEEP}, in its order, and append new choices.",
        ),
        (
            edit(2, choices=["euler"]),
            ": input 'solver': choices was ['euler', 'heun'] and is ['euler'] now. "
            f"{KEEP}, in its order, and append new choices.",
        ),
        (
            lambda nodes: nodes["OpenT2VNode"]["outputs"].reverse(),
            ": output 1 was {'name': 'latent', 'type': 'LATENT'} and is {'name': 'seed', 'type': 'INT'} now. "
            "Links are saved by position: append new outputs.",
        ),
    ],
)
def test_any_other_change_fails_and_says_how_to_do_it_right(before, change, said):
    after = copy.deepcopy(before)
    change(after)
    found = breaks(before, after)
    assert found[0] == f"OpenT2VNode{said}", found
