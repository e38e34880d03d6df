"""Prompt Rows, alone and in front of a graph."""

from __future__ import annotations

import json

import pytest

from opent2v.headless.runner import run
from opent2v.headless.workflow import load_workflow
from opent2v.host import InputRefused, embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.nodes.rows import OpenT2VRows
from opent2v.tests.nodes.calls import call, remarks


@pytest.fixture(autouse=True)
def folder(tmp_path):
    (tmp_path / "input").mkdir()
    embedded.configure(output=tmp_path / "output", input=tmp_path / "input")
    return tmp_path / "input"


def test_typed_lines():
    (prompts, negatives, seeds, labels, texts, numbers), ui = call("OpenT2VRows", lines="a cat\n\n 一只狗 \n", seed=7)
    assert prompts == ["a cat", "一只狗"] and negatives == texts == ["", ""] and seeds == [7, 7]
    assert labels == ["1", "2"] and numbers == [0.0, 0.0]
    assert remarks(ui) == "2 rows: the graph runs once for each"


def test_a_table_with_columns_of_its_own(folder):
    text = "prompt;seed;label;strength;style\na cat;1;first;0,5;x\n"
    (folder / "a.csv").write_text(text.replace("0,5", "0.5"), encoding="utf-16")
    result, _ = call("OpenT2VRows", file="a.csv", text_column="style", number_column="strength")
    assert [entry[0] for entry in result] == ["a cat", "", 1, "first", "x", 0.5]


def test_a_stretch_of_the_rows(folder):
    (folder / "a.csv").write_text("prompt\n" + "".join(f"cat {number}\n" for number in range(1, 10)))
    (prompts, *_, labels, _, _), _ = call("OpenT2VRows", file="a.csv", start=3, count=2)
    assert prompts == ["cat 3", "cat 4"] and labels == ["3", "4"]


@pytest.mark.parametrize(
    ("text", "inputs", "message"),
    [
        ("seed\n1\n", {}, "a.csv has no column prompt; it has seed"),
        ("prompt,seed\na,x\nb,-1\n", {}, r"row 1 \(line 2\): seed is 'x'(.|\n)*row 2 \(line 3\): seed is -1"),
        ("prompt,a\nx,y\n", {"number_column": "a"}, "a is 'y'; expected a number"),
        ("prompt\nx\n", {"text_column": "b"}, "it has nothing in column 'b'; it has prompt"),
        ("prompt\nx\n", {"start": 5}, "There is no row from row 5 on"),
        ("prompt\n=A1\n", {}, "prompt is the formula"),
    ],
)
def test_rows_that_cannot_be_used(folder, text, inputs, message):
    (folder / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        call("OpenT2VRows", file="a.csv", **inputs)


def test_too_many_rows_for_a_graph(folder):
    (folder / "a.csv").write_text("prompt\n" + "x\n" * 10_001)
    with pytest.raises(ValueError, match=r"more than 10000 rows. Set count, or run scripts/batch.py"):
        call("OpenT2VRows", file="a.csv")


def test_what_is_refused_before_a_run(folder):
    with pytest.raises(InputRefused, match="No file is chosen and no line is typed"):
        OpenT2VRows.VALIDATE_INPUTS(file="none", lines=" ")
    (folder / "a.csv").write_text("a,a\n")
    with pytest.raises(InputRefused, match="two columns are called 'a'"):
        OpenT2VRows.VALIDATE_INPUTS(file="a.csv")
    with pytest.raises(InputRefused, match="leads out of the input folder"):
        OpenT2VRows.VALIDATE_INPUTS(file="../a.csv")
    assert OpenT2VRows.VALIDATE_INPUTS(file=None, lines=None) is True


def test_a_changed_file_is_read_again(folder):
    (folder / "a.csv").write_text("prompt\na\n")
    before = OpenT2VRows.IS_CHANGED(file="a.csv")
    (folder / "a.csv").write_text("prompt\nab\n")
    assert OpenT2VRows.IS_CHANGED(file="a.csv") != before and OpenT2VRows.IS_CHANGED(file="none") == ""


def test_a_test_of_variants_is_one_workflow(tmp_path):
    """Two prompts become two clips beside each other, blind, in one file, and the key says which is which."""
    flow = {
        "1": {"class_type": "OpenT2VLoadModel", "inputs": {"model": "opent2v-quickstart", "dtype": "auto"}},
        "2": {
            "class_type": "OpenT2VRows",
            "inputs": {"file": "none", "lines": "a red circle\na blue star", "seed": 1, "start": 1, "count": 0},
        },
        "3": {
            "class_type": "OpenT2VEncodePrompt", "inputs": {"clip": ["1", 1], "positive": ["2", 0], "negative": ""}
        },
        "4": {"class_type": "OpenT2VEmptyLatent", "inputs": {"model": ["1", 0], "width": 0, "height": 0, "frames": 5}},
        "5": {
            "class_type": "OpenT2VSampler",
            "inputs": {
                "model": ["1", 0], "positive": ["3", 0], "negative": ["3", 1], "latent": ["4", 0], "seed": ["2", 2],
                "steps": 1, "cfg": 0.0, "shift": 0.0, "solver": "reference", "denoise": 1.0,
            },
        },
        "6": {"class_type": "OpenT2VDecode", "inputs": {"vae": ["1", 2], "latent": ["5", 0]}},
        "7": {
            "class_type": "OpenT2VCompareClips",
            "inputs": {
                "images": ["6", 0], "layout": "row", "labels": ["2", 0], "blind": True, "seed": 3, "moments": 6
            },
        },
        "8": {
            "class_type": "OpenT2VSaveVideo",
            "inputs": {"images": ["7", 0], "fps": ["4", 4], "filename_prefix": "x", "quality": 80},
        },
    }  # fmt: skip
    results = run(load_workflow(flow, NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS), NODE_CLASS_MAPPINGS)
    (saved,) = results["8"]["ui"]["images"]
    assert (tmp_path / "output" / saved["filename"]).is_file()
    key = json.loads((tmp_path / "output" / "blind_key_00001.json").read_text())
    assert sorted(key) == ["A", "B"] and sorted(key.values()) == ["a blue star", "a red circle"]
