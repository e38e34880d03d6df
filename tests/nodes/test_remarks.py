"""Remarks go with a node's result, under a name of the pack's own."""

from __future__ import annotations

import inspect
import json

import pytest

from opent2v.base.remarks import FITS, as_table, look, steps_strip
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.nodes.remarks import KEY, REPORT, with_remarks
from opent2v.scripts.pack import ROOT


def test_remarks_are_beside_the_result_and_other_ui_entries():
    returned = with_remarks(("latent",), ["20 steps", "seed 1"], animated=(True,))
    report = ['{"text": "20 steps"}', '{"text": "seed 1"}']
    assert returned == {
        "ui": {"animated": (True,), KEY: ["20 steps", "seed 1"], REPORT: report},
        "result": ("latent",),
    }


def test_what_a_remark_is_goes_beside_its_text():
    said = [as_table([("run", "PSNR"), ("a", "31.0 dB")], [FITS]), look("Raise it."), steps_strip("CCrC", "CCrC")]
    ui = with_remarks((), said)["ui"]
    assert ui[KEY] == ["run | PSNR", "a | 31.0 dB", "Raise it.", "CCrC"]
    assert [json.loads(entry) for entry in ui[REPORT]] == [
        {"text": "run | PSNR\na | 31.0 dB", "table": [["run", "PSNR"], ["a", "31.0 dB"]], "verdicts": ["fits"]},
        {"text": "Raise it.", "verdict": "look"},
        {"text": "CCrC", "plans": [{"label": "", "steps": "CCrC"}]},
    ]


def test_no_remarks_are_told_too_so_that_the_last_ones_go():
    assert with_remarks((), []) == {"ui": {KEY: [], REPORT: []}, "result": ()}


def test_page_and_terminal_read_the_same_name():
    for reader in ("web/remarks.js", "headless/outcome.py"):
        assert f'"{KEY}"' in (ROOT / reader).read_text(encoding="utf-8"), reader
    assert f'"{REPORT}"' in (ROOT / "web/remarks.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS)
def test_what_has_remarks_is_told_again_to_a_page_that_was_loaded_anew(node):
    cls = NODE_CLASS_MAPPINGS[node]
    assert getattr(cls, "HAS_INTERMEDIATE_OUTPUT", False) == ("with_remarks(" in inspect.getsource(cls))
