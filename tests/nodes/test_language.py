"""Nodes speak the host's language: remarks, reports and errors; files and prompts stay as they are."""

from __future__ import annotations

import inspect
import logging

import pytest

from opent2v.host import InputRefused, embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.nodes.language import speak
from opent2v.nodes.remarks import with_remarks

SENTENCE, CHINESE = "The prompt is empty: the video will show anything.", "提示词为空：视频会随意生成。"


@pytest.fixture
def chinese():
    embedded.speak("zh")
    yield
    embedded.speak("en")


def node() -> type:
    class Node:
        FUNCTION = "run"
        RETURN_NAMES = ("file", "report")

        def run(self, fails: str = ""):
            if fails:
                raise InputRefused("steps", fails) if fails.startswith("steps") else ValueError(fails)
            return with_remarks((SENTENCE, SENTENCE), [SENTENCE])

        @classmethod
        def VALIDATE_INPUTS(cls, prefix: str | None = None) -> bool | str:
            return SENTENCE if prefix else True

    speak(Node)
    return Node


def test_remarks_and_reports_are_translated_and_files_are_not(chinese):
    result = node()().run()
    assert result["ui"]["opent2v_remarks"] == [CHINESE]
    assert result["result"] == (SENTENCE, CHINESE)


def test_english_stays_as_it_is():
    assert node()().run()["ui"]["opent2v_remarks"] == [SENTENCE]
    with pytest.raises(ValueError, match=r"^Use fewer steps\.$"):
        node()().run("Use fewer steps.")


def test_an_error_keeps_its_kind_and_its_english_line_in_the_log(chinese, caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(ValueError, match=r"^请减少步数。$"):
        node()().run("Use fewer steps.")
    assert "Use fewer steps." in caplog.text
    with pytest.raises(ValueError, match=r"^\[Errno 5\]$"):
        node()().run("[Errno 5]")


def test_a_refused_input_is_still_named_first(chinese):
    sentence = "steps is 0; at least 1 is needed (0 in the node means the model's own)."
    with pytest.raises(InputRefused, match=r"^steps: steps 为 0"):
        node()().run(sentence)


def test_the_check_before_a_run_speaks_too_and_says_which_inputs_it_takes(chinese):
    assert node().VALIDATE_INPUTS("x") == CHINESE
    assert node().VALIDATE_INPUTS() is True
    # ComfyUI asks like this, in execution.py.
    assert inspect.getfullargspec(node().VALIDATE_INPUTS).args == ["cls", "prefix"]


def test_every_node_speaks():
    for node_class in NODE_CLASS_MAPPINGS.values():
        assert hasattr(getattr(node_class, node_class.FUNCTION), "__wrapped__")
