"""Lists on links, as ComfyUI's executor runs nodes over them."""

from __future__ import annotations

import pytest

from opent2v.headless.graph import Graph
from opent2v.headless.lists import ListValue, call_arguments, joined
from opent2v.headless.runner import NodeError, run


class Numbers:
    RETURN_TYPES = ("INT", "INT")
    OUTPUT_IS_LIST = (True, False)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"count": ("INT", {"default": 3, "min": 0, "max": 9})}}

    def run(self, count):
        return list(range(count)), 10


class Add:
    RETURN_TYPES = ("INT",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT",), "b": ("INT",)}}

    def run(self, a, b):
        return {"ui": {"sums": [a + b]}, "result": (a + b,)}


class Show:
    RETURN_TYPES = ("INT",)
    INPUT_IS_LIST = True
    OUTPUT_NODE = True
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"values": ("INT",), "factor": ("INT", {"default": 2})}}

    def run(self, values, factor):
        return {"ui": {"shown": [value * factor[0] for value in values]}, "result": (len(values),)}


CLASSES = {"Numbers": Numbers, "Add": Add, "Show": Show}


def graph(first=3, second=None):
    nodes = {
        "1": {"class_type": "Numbers", "inputs": {"count": first}, "title": "Numbers"},
        "2": {"class_type": "Numbers", "inputs": {"count": second or 1}, "title": "Numbers"},
        "3": {"class_type": "Add", "inputs": {"a": ["1", 0], "b": ["2", 0 if second else 1]}, "title": "Add"},
        "4": {"class_type": "Show", "inputs": {"values": ["3", 0], "factor": 2}, "title": "Show"},
    }
    return Graph(nodes)


@pytest.mark.parametrize(
    ("first", "second", "shown"), [(3, None, [20, 22, 24]), (4, 2, [0, 4, 6, 8]), (1, 3, [0, 2, 4]), (0, None, [])]
)
def test_a_node_runs_once_for_each_entry_and_the_shorter_list_repeats_its_last(first, second, shown):
    results = run(graph(first, second), CLASSES)
    assert results["4"]["ui"]["shown"] == shown and results["4"]["outputs"] == (len(shown),)
    assert results["3"]["ui"].get("sums", []) == [value // 2 for value in shown]


def test_a_class_that_gives_no_list_is_named():
    class Broken(Numbers):
        def run(self, count):
            return 7, 10

    with pytest.raises(NodeError, match="output 0 is to be a list, as OUTPUT_IS_LIST says, and is none"):
        run(graph(), {**CLASSES, "Numbers": Broken})


def test_without_lists_nothing_changes():
    assert call_arguments({"a": 1, "b": [2, 3]}, takes_lists=False) == [{"a": 1, "b": [2, 3]}]
    assert joined([({"x": [1]}, (5, [6]))], 2, (), is_list=False) == ({"x": [1]}, (5, [6]))
    assert not isinstance(joined([({}, ([6],))], 1, (), is_list=False)[1][0], ListValue)
