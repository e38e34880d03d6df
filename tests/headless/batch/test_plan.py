"""From rows and grids to jobs, and what is refused before anything runs.

Tests: headless/batch/plan.py, headless/batch/check.py, headless/batch/columns.py
"""

from __future__ import annotations

import json

import pytest

from opent2v import nodes
from opent2v.headless import load_changed
from opent2v.headless.batch.columns import SHORT, Columns
from opent2v.headless.batch.drive import check
from opent2v.headless.batch.plan import BatchError, Plan, read_grid
from opent2v.headless.graph import WorkflowError
from opent2v.headless.workflow import read_json
from opent2v.media.rows import Table
from opent2v.scripts.pack import ROOT
from opent2v.tests.headless.fake_nodes import CLASSES, TITLES
from opent2v.tests.headless.flows import api, page

QUICKSTART = (ROOT / "workflows" / "quickstart.json").read_text(encoding="utf-8")
OURS = nodes.NODE_CLASS_MAPPINGS, nodes.NODE_DISPLAY_NAME_MAPPINGS


def rows(tmp_path, text, name="rows.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return Table(path)


def quickstart(table=None, **options):
    return Plan(QUICKSTART, *OURS, rows=table, **options)


def fake(table=None, flow=None, **options):
    return Plan(json.dumps(flow or api()), CLASSES, TITLES, rows=table, **options)


def test_columns_by_short_name_and_by_node(tmp_path):
    table = rows(tmp_path, "prompt,seed,OpenT2VEmptyLatent.frames,fps\na red circle,7,9,\na blue star,8,,8\n")
    first, second = quickstart(table).jobs()
    assert first.changes == ("2.positive=a red circle", "4.seed=7", "3.frames=9") and not first.problem
    assert second.changes == ("2.positive=a blue star", "4.seed=8", "3.fps=8")
    graph = load_changed(QUICKSTART, first.changes, *OURS)
    assert graph["2"]["inputs"]["positive"] == "a red circle" and graph["3"]["inputs"]["frames"] == 9


def test_every_short_name_that_the_workflow_has():
    columns = Columns(read_json(QUICKSTART), *OURS)
    targets = {name: column.target for name, column in columns.short_names().items()}
    assert targets == {
        "prompt": "2.positive", "negative": "2.negative", "seed": "4.seed", "steps": "4.steps", "cfg": "4.cfg",
        "width": "3.width", "height": "3.height", "frames": "3.frames", "seconds": "3.seconds", "fps": "3.fps",
        "model": "1.model",
    }  # fmt: skip
    lora = Columns(read_json((ROOT / "workflows" / "lora.json").read_text(encoding="utf-8")), *OURS).short_names()
    assert lora["lora"].item.name == "lora" and lora["strength"].item.name == "strength_model"


def test_short_names_are_inputs_of_real_nodes():
    for groups in SHORT.values():
        for kind, input_name in (pair for group in groups for pair in group):
            if kind in nodes.NODE_CLASS_MAPPINGS:
                inputs = nodes.NODE_CLASS_MAPPINGS[kind].INPUT_TYPES()
                assert input_name in {**inputs["required"], **inputs.get("optional", {})}, (kind, input_name)


def test_a_value_node_in_front_is_set_instead():
    flow = {
        "1": {"class_type": "PrimitiveStringMultiline", "inputs": {"value": "a cat"}},
        "2": {"class_type": "OpenT2VEncodePrompt", "inputs": {"positive": ["1", 0], "negative": "", "clip": ["9", 1]}},
        "9": {"class_type": "OpenT2VLoadModel", "inputs": {"model": "opent2v-quickstart", "dtype": "auto"}},
    }
    assert Columns(flow, *OURS)["prompt"].target == "1.value"


def test_names_that_mean_nothing_or_too_much(tmp_path):
    with pytest.raises(WorkflowError, match=r"'lora' means OpenT2VLoadLora.lora.*the workflow has none"):
        Columns(read_json(QUICKSTART), *OURS)["lora"]
    flow = {str(number): {"class_type": "LoadImage", "inputs": {"image": "a.png"}} for number in (1, 2)}
    with pytest.raises(WorkflowError, match=r"'picture' may mean 2 inputs; call it by one of them: 1.image"):
        Columns(flow, *OURS)["picture"]
    with pytest.raises(BatchError, match=r"column 'promt' is no input of the workflow \(did you mean 'prompt'\?\)"):
        check(quickstart(rows(tmp_path, "promt,seed\na cat,1\n")))
    with pytest.raises(BatchError, match="no input 'sed'"):
        check(quickstart(rows(tmp_path, "4.sed\n1\n")))
    with pytest.raises(BatchError, match=r"columns 'seed' and '4.seed' both set 4.seed"):
        check(quickstart(rows(tmp_path, "seed,4.seed\n1,2\n")))


def test_a_column_for_other_eyes_is_ignored_only_when_told(tmp_path):
    table = rows(tmp_path, "prompt,price\na cat,9.90\n")
    with pytest.raises(BatchError, match="--ignore price"):
        check(quickstart(table))
    assert check(quickstart(table, ignored=frozenset({"price"}))).total == 1
    with pytest.raises(BatchError, match=r"'cost' is to be ignored, but rows.csv has no such column"):
        quickstart(table, ignored=frozenset({"cost"}))


def test_placeholders(tmp_path):
    table = rows(tmp_path, 'colour,shape,prompt\nred,star,"a {colour} { shape } {{x}} {a|b}"\nblue,,a {shape}\n')
    first, second = quickstart(table).jobs()
    assert first.changes == ("2.positive=a red star {x} {a|b}",)
    assert second.problem.startswith("prompt holds {shape}, which stands for no value, and is empty in this row")
    fixed = quickstart(rows(tmp_path, "colour\nred\n"), fixed={"prompt": "a {colour} star"})
    assert [job.changes for job in fixed.jobs()] == [("2.positive=a red star",)]
    assert check(fixed).refusals == 0


def test_a_placeholders_value_is_not_filled_in_again(tmp_path):
    table = rows(tmp_path, "title,prompt\n{prompt} {title},a {title}\n")
    job = next(quickstart(table).jobs())
    assert "title holds {title}" in job.problem
    table = rows(tmp_path, 'title,prompt\n"{{x}}",a {title}\n')
    assert next(quickstart(table).jobs()).changes == ("2.positive=a {{x}}",)


def test_grids_multiply_in_order(tmp_path):
    table = rows(tmp_path, "prompt\na cat\na dog\n")
    jobs = list(quickstart(table, grids=[read_grid("seed=1..2"), read_grid("cfg=2|4")]).jobs())
    assert [(job.number, job.row, job.settings["seed"], job.settings["cfg"]) for job in jobs] == [
        (1, 1, "1", "2"), (2, 1, "1", "4"), (3, 1, "2", "2"), (4, 1, "2", "4"),
        (5, 2, "1", "2"), (6, 2, "1", "4"), (7, 2, "2", "2"), (8, 2, "2", "4"),
    ]  # fmt: skip
    assert len({job.digest for job in jobs}) == 8


def test_grids_from_a_file_and_without_rows(tmp_path):
    (tmp_path / "lines.txt").write_text("a cat\n\n a dog, black \n", encoding="utf-8")
    grid = read_grid(f"prompt=@{tmp_path / 'lines.txt'}")
    assert [job.settings["prompt"] for job in quickstart(grids=[grid]).jobs()] == ["a cat", "a dog, black"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", "expected NAME=1..4"),
        ("seed=", "expected NAME=1..4"),
        ("seed=4..1", "the range 4..1 holds nothing"),
        ("seed=1..2..0", "a step above 0"),
        ("seed=0..1000000", "holds 1000001 values; at most 100000"),
        ("prompt=@no.txt", "cannot read no.txt: No such file"),
    ],
)
def test_grids_that_cannot_be_read(text, message):
    with pytest.raises(BatchError, match=message):
        read_grid(text)


def test_a_grid_and_a_column_of_one_name(tmp_path):
    with pytest.raises(BatchError, match="'seed' is set by a grid, and by a column or --set as well"):
        quickstart(rows(tmp_path, "seed\n1\n"), grids=[read_grid("seed=1..2")])


def test_bad_values_are_told_with_their_row(tmp_path):
    table = rows(tmp_path, 'prompt,seed,steps\na cat,1,20\na dog,x,20\na cow,2,-1\n"a, b",3\n')
    report = check(quickstart(table))
    assert (report.total, report.refusals) == (4, 3)
    assert report.refused[0] == (2, 2, 3, "seed is 'x'; expected a whole number")
    assert report.refused[1] == (3, 3, 4, "steps is -1; expected 0 to 1000")
    assert report.refused[2][3].startswith("it has 2 cells, the header 3")


def test_a_bad_row_counts_once_whatever_the_grid(tmp_path):
    table = rows(tmp_path, 'prompt,steps\n"a\n')
    report = check(quickstart(table, grids=[read_grid("seed=1..5")]))
    assert (report.total, report.refusals) == (1, 1)


def test_a_nodes_own_check_is_asked_for_each_value(tmp_path):
    table = rows(tmp_path, "prompt,OpenT2VSaveVideo.filename_prefix\na cat,clip\na cat,../out\na dog,clip\n")
    report = check(quickstart(table))
    assert [entry[1] for entry in report.refused] == [2]
    assert "leads out of its folder" in report.refused[0][3]


def test_a_model_that_is_not_there(tmp_path):
    report = check(quickstart(rows(tmp_path, "model,seed\nopent2v-quickstart,1\nwan,2\n")))
    assert report.refused[0][:3] == (2, 2, 3) and "model is 'wan'" in report.refused[0][3]
    assert report.models == 1


def test_a_workflow_that_cannot_run_at_all_refuses_every_row(tmp_path):
    report = check(fake(rows(tmp_path, "3.seed\n1\n2\n"), api(n3={"model": None})))
    assert report.refusals == 2 and "required input 'model' (MODEL) is missing" in report.refused[0][3]


@pytest.mark.parametrize("flow", [api(), page("plain")])
def test_the_check_says_what_the_run_says(tmp_path, flow):
    """Jobs are checked in the graph, and run through the file: both must agree, in both formats."""
    table = rows(tmp_path, "Fake Sampler.seed,Fake Sampler.solver\n5,euler\n5,none\n-1,euler\n,reference\n")
    for job in fake(table, flow).jobs():
        try:
            load_changed(json.dumps(flow), job.changes, CLASSES, TITLES)
            assert not job.problem
        except WorkflowError:
            assert job.problem


def test_jobs_of_other_weights_have_another_model():
    plan = fake(grids=[read_grid("1.name=first|second"), read_grid("3.seed=1..2")])
    assert [job.model for job in plan.jobs()] == ["1.name=first"] * 2 + ["1.name=second"] * 2
    assert check(plan).models == 2


def test_json_lines_may_have_other_keys_in_each_row(tmp_path):
    table = rows(tmp_path, '{"prompt": "a {x}", "x": "cat"}\n{"seed": 4}\n{"sede": 4}\n{"lora": "a"}\n', "r.jsonl")
    jobs = list(quickstart(table).jobs())
    assert jobs[0].changes == ("2.positive=a cat",) and jobs[1].changes == ("4.seed=4",)
    assert jobs[2].problem == "'sede' is no input of the workflow, and no text of the row holds {sede}"
    assert "the workflow has none of these nodes" in jobs[3].problem
