"""A remark is its text everywhere, and knows how it is drawn."""

from __future__ import annotations

import json

import pytest

from opent2v.base.remarks import (
    Remark,
    as_table,
    drawings,
    fits,
    in_language,
    lines,
    look,
    prefixed,
    refused,
    steps_strip,
)


@pytest.mark.parametrize(("kind", "name"), [(fits, "fits"), (look, "look"), (refused, "refused")])
def test_a_verdict_is_its_text_wherever_texts_are_joined(kind, name):
    verdict = kind("All of it fits.")
    assert verdict == "All of it fits." and "\n".join([verdict, "b"]) == "All of it fits.\nb"
    assert json.loads(json.dumps(drawings([verdict, "b"]))) == [{"text": verdict, "verdict": name}, {"text": "b"}]


def test_a_table_is_a_line_for_each_row():
    rows = [("run", "PSNR"), ("a", "30 dB"), ("b", "20 dB")]
    table = as_table(rows, ["fits", "look"])
    assert lines([table, "end"]) == ["run | PSNR", "a | 30 dB", "b | 20 dB", "end"]
    assert table.drawing == {"table": [list(row) for row in rows], "verdicts": ["fits", "look"]}
    assert as_table(rows).drawing["verdicts"] == ["", ""]
    assert as_table(rows, text="two runs") == "two runs"


def test_a_prefix_names_the_strips_too_and_leaves_other_drawings():
    strip = prefixed("high noise", steps_strip("Plan: CrC", "CrC", "positive"))
    assert isinstance(strip, Remark) and str(strip) == "high noise: Plan: CrC"
    assert strip.drawing == {"plans": [{"label": "high noise positive", "steps": "CrC"}]}
    warning = prefixed("low noise", look("More."))
    assert isinstance(warning, Remark) and warning.drawing == {"verdict": "look"}
    assert not isinstance(prefixed("low noise", "20 steps"), Remark)


def test_a_remark_in_another_language_is_drawn_as_it_was():
    rows = [["the disk is full", "x.mp4"], ["1.5", "nearly identical"]]
    table, strip, plain = in_language(
        [as_table(rows, ["fits"]), steps_strip("low noise", "CR", "high noise"), "the disk is full"], "zh"
    )
    assert isinstance(table, Remark) and isinstance(strip, Remark)
    assert table.drawing == {"table": [["磁盘已满", "x.mp4"], ["1.5", "几乎相同"]], "verdicts": ["fits"]}
    assert strip == "低噪声" and strip.drawing["plans"] == [{"label": "高噪声", "steps": "CR"}]
    assert plain == "磁盘已满"
    assert in_language([look("the disk is full")], "en") == ["the disk is full"]
