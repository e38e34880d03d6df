"""Graphs that run side by side.

Tests: headless/runner.py and headless/graph_run.py.
"""

from __future__ import annotations

import pytest

from opent2v.headless.kept import Kept
from opent2v.headless.runner import NodeError, Side, run, run_together
from opent2v.headless.workflow import WorkflowError
from opent2v.host import embedded
from opent2v.tests.headless.fake_nodes import CLASSES, FakeSampler, FakeSave
from opent2v.tests.headless.flows import api, load


def together(works=True):
    """A sampler that takes several calls at once, and the seeds of each time that it did."""
    seen = []

    class Sampler(FakeSampler):
        def sample_together(self, calls):
            seen.append([call["seed"] for call in calls])
            if works == "raises":
                raise MemoryError("out of memory for all of them")
            return [self.sample(**call) for call in calls] if works else None

    return {**CLASSES, "FakeSampler": Sampler}, seen


def graphs(*seeds, **others):
    return [load(api(n3={"seed": seed}, n2={"text": f"take {seed}"}, **others)) for seed in seeds]


def outputs(runs):
    return [graph_run.results["4"]["outputs"] for graph_run in runs]


@pytest.mark.parametrize("works", [True, False, "raises"])
def test_each_graph_gives_what_it_gives_alone(works):
    kinds, seen = together(works)
    alone = [run(graph, CLASSES)["4"]["outputs"] for graph in graphs(1, 2, 3)]
    assert outputs(run_together(graphs(1, 2, 3), kinds)) == alone
    assert seen == [[1, 2, 3]]


def test_weights_are_loaded_once_for_all_and_kept_for_the_next():
    kept = Kept()
    for _ in range(2):
        run_together(graphs(1, 2, 3), CLASSES, kept=kept)
    assert kept.loads == 1


def test_a_graph_that_fails_stops_no_other():
    class Save(FakeSave):
        def save(self, **inputs):
            if "seed=2" in inputs["latent"]:
                raise OSError("no space left")
            return super().save(**inputs)

    runs = run_together(graphs(1, 2, 3), {**CLASSES, "FakeSave": Save})
    assert [graph_run.error is None for graph_run in runs] == [True, False, True]
    assert "no space left" in str(runs[1].error) and isinstance(runs[1].error.__cause__, OSError)


def test_of_a_graph_that_nobody_wants_any_more_nothing_further_runs():
    kinds, seen = together()
    turns = []

    class Clients(Side):
        def turn(self, number):
            turns.append(number)

        def is_wanted(self, number):
            return number != 1 or not seen  # given up while the sampler runs

    runs = run_together(graphs(1, 2, 3), kinds, side=Clients())
    assert seen == [[1, 2, 3]] and [("4" in graph_run.results) for graph_run in runs] == [True, False, True]
    assert runs[1].error is None and turns[-2:] == [0, 2]


def test_an_interrupt_stops_all_of_them():
    class Sampler(FakeSampler):
        def sample_together(self, calls):
            raise embedded.Interrupted("The run was interrupted.")

    with pytest.raises(NodeError, match="interrupted") as error:
        run_together(graphs(1, 2), {**CLASSES, "FakeSampler": Sampler})
    assert isinstance(error.value.__cause__, embedded.Interrupted)


def test_a_node_of_all_graphs_is_told_once():
    told = []
    run_together(graphs(1, 2), CLASSES, on_node=lambda node_id, result: told.append((node_id, result is None)))
    assert told == [(node_id, starts) for node_id in "1234" for starts in (True, False)]


def test_other_graphs_are_refused():
    saved = {"class_type": "FakeSave", "inputs": {"latent": ["3", 0], "prefix": "b"}}
    other = load({**api(), "5": saved})
    with pytest.raises(ValueError, match="the graphs differ in more than values"):
        run_together([load(api()), other], CLASSES)
    with pytest.raises(WorkflowError):
        run_together([load(api()), load(api(n3={"steps": 0}))], CLASSES)
