"""The guards and the state of a run, on blocks that double their input."""

from __future__ import annotations

import pytest
import torch

from opent2v.sampling.caches import BatchItem
from opent2v.sampling.caches.report import remarks, summary
from opent2v.tests.sampling.caches.doubling import NEGATIVE, POSITIVE, Model, cache, full, walk


def values(results):
    return [r.unique().tolist()[0] if len(r) == 1 else r[:, 0, 0].tolist() for r in results]


def computed_text(run, label="positive") -> str:
    return "".join("c" if computed else "r" for stage in run.stages for computed in stage.steps[label].values())


# --- guards ---


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "crrrcrrrcrrrcrrrcrrc"),  # three in a row at most; the first and the last are computed
        ({"max_consecutive": 1}, "crcrcrcrcrcrcrcrcrcc"),
        ({"start": 0.5}, "ccccccccccrrrcrrrcrc"),
        ({"end": 0.5}, "crrrcrrrcrcccccccccc"),
        ({"start": 0.15, "end": 0.95}, "cccrrrcrrrcrrrcrrrcc"),
    ],
)
def test_a_plan_that_reuses_all_meets_the_guards(given, expected):
    run, model = cache(plan="r", **given), Model()
    walk(model, run, [full(1)] * 20)
    assert computed_text(run) == expected
    assert model.runs == [expected.count("c")] * 3  # what the report says is what ran
    assert summary(run) == f"{expected.count('c')} of 20 steps computed"


def test_another_size_is_computed():
    run, model = cache(plan="r"), Model()
    results = walk(model, run, [full(1), full(2), full(3, tokens=6), full(4, tokens=6), full(5, tokens=6)])
    # 8 (7 added); 2 + 7; a new size: 3 * 8 = 24 (21 added); 4 + 21; the last: 5 * 8
    assert values(results) == [8, 9, 24, 25, 40] and computed_text(run) == "crcrc"


def test_what_is_not_finite_is_never_reused():
    run = cache(plan="r")
    results = walk(Model(), run, [full(1), full(float("inf")), full(2), full(3)])
    assert computed_text(run) == "crrc"
    run = cache(plan="r")
    results = walk(Model(), run, [full(float("inf")), full(1), full(2), full(3)])
    # nothing could be kept of the first: 1 * 8 = 8 is computed, 2 + 7
    assert values(results)[1:] == [8, 9, 24] and computed_text(run) == "ccrc"


# --- state ---


def test_each_condition_has_its_own_whether_batched_or_not():
    batched, apart = cache(plan="crc"), cache(plan="crc")
    xs = [full(1, 10), full(2, 20), full(3, 30)]
    together = walk(Model(), batched, xs, (NEGATIVE, POSITIVE))
    model, split, sigmas = Model(), [], torch.linspace(1, 0, 4)
    with apart.attached(model, sigmas) as stage:
        for x, sigma in zip(xs, sigmas.tolist(), strict=False):
            rows = []
            for part, row in zip((NEGATIVE, POSITIVE), x.split(1), strict=True):
                with stage.call((part,), sigma, row):
                    rows.append(model(row))
            split.append(torch.cat(rows))
    # 1 -> 8 and 10 -> 80: 7 and 70 were added; 2 + 7 = 9 and 20 + 70 = 90
    assert values(together) == [[8, 80], [9, 90], [24, 240]] == values(split)
    assert batched.stages[0].steps == apart.stages[0].steps
    assert summary(batched) == summary(apart) == "2 of 3 steps computed"


@pytest.mark.parametrize("policy", ["easycache", "first block"])
def test_batched_and_unbatched_decide_the_same(policy):
    torch.manual_seed(1)
    xs = [torch.cat([full(1, 3)]) + 0.05 * n + 0.01 * torch.randn(2, 4, 3) for n in range(12)]
    batched, apart = (cache(policy, threshold=0.1) for _ in range(2))
    together = walk(Model(), batched, xs, (NEGATIVE, POSITIVE))
    model, sigmas = Model(), torch.linspace(1, 0, 13)
    with apart.attached(model, sigmas) as stage:
        for n, (x, sigma) in enumerate(zip(xs, sigmas.tolist(), strict=False)):
            for row, part in enumerate((NEGATIVE, POSITIVE)):
                with stage.call((part,), sigma, x[row : row + 1]):
                    assert torch.allclose(model(x[row : row + 1]), together[n][row : row + 1])
    assert batched.stages[0].steps == apart.stages[0].steps
    assert 0 < sum(batched.stages[0].steps["positive"].values()) < 12


def test_a_condition_that_comes_late_is_computed():
    run, model, sigmas = cache(plan="r"), Model(), torch.linspace(1, 0, 5)
    with run.attached(model, sigmas) as stage:
        for step, sigma in enumerate(sigmas.tolist()[:4]):
            for part in (POSITIVE, BatchItem("window 2", "positive"), NEGATIVE)[: 1 if step == 0 else 3]:
                with stage.call((part,), sigma, full(1)):
                    model(full(1))
    assert stage.steps == {
        "positive": {0: True, 1: True, 2: False, 3: True},  # a step with one computed window counts as computed
        "negative": {1: True, 2: False, 3: True},
    }
    assert summary(run) == "positive 3 of 4 steps computed, negative 2 of 3 steps computed"


def test_two_experts_share_nothing():
    run, high, low = cache(plan="crcc"), Model(), Model()
    first = walk(high, run, [full(1), full(2), full(1), full(1)])
    second = walk(low, run, [full(5), full(6), full(1), full(1)])
    # the second expert's first call is computed: 5 * 8 = 40 (35 added), then 6 + 35
    assert values(first)[:2] == [8, 9] and values(second)[:2] == [40, 41]
    assert summary(run) == "6 of 8 steps computed" and len(run.stages) == 2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_kept_after_a_run(error):
    run, model = cache(plan="r"), Model()
    with pytest.raises(error), run.attached(model, torch.linspace(1, 0, 6)) as stage:
        for sigma in (1.0, 0.8):
            with stage.call((NEGATIVE, POSITIVE), sigma, full(1, 2)):
                model(full(1, 2))
        assert sum(kept.bytes for kept in stage._kept.values()) == stage.peak
        assert stage.peak == 2 * 4 * 3 * 4  # two rows of four tokens, three wide, four bytes
        raise error
    assert run.stages[0]._kept == {} and run.stages[0]._block_input is None
    assert values(walk(model, cache(plan="crc"), [full(1), full(10), full(1)])) == [8, 17, 8]


# --- predictors, memory ---


def test_a_straight_line_in_sigma():
    run = cache(plan="ccrrrrrc", predictor="linear", max_consecutive=9)
    results = walk(Model(), run, [full(1), full(2), *[full(0)] * 5, full(1)])
    # 7 and 14 were added, one step apart: 21 one step on, and never further than that
    assert values(results) == [8, 16, 21, 21, 21, 21, 21, 8]


def test_half_a_step_on_adds_half():
    run, model = cache(plan="ccrc", predictor="linear"), Model()
    with run.attached(model, torch.tensor([1.0, 0.6, 0.4, 0.2, 0.0])) as stage:
        results = []
        for sigma, x in ((1.0, 1), (0.6, 2), (0.4, 0)):
            with stage.call((POSITIVE,), sigma, full(x)):
                results.append(model(full(x)))
    assert values(results) == pytest.approx([8, 16, 17.5])


def test_what_does_not_fit_is_computed():
    run = cache(plan="r", memory=0.0)
    walk(Model(), run, [full(1)] * 4)
    assert computed_text(run) == "cccc"
    lines = remarks(run)
    assert [lines[0], lines[-1]] == [
        "Step cache (plan): 4 of 4 steps computed",
        "More than 0 GiB would be kept: the rest was computed. Raise memory, or set device to cpu.",
    ]


@pytest.mark.parametrize("fits", [1, 2])
def test_linear_with_room_for_one_result_each_is_last(fits):
    """A result takes 48 bytes; linear wants two for each of the two prompts."""
    run = cache(plan="ccrc", predictor="linear", memory=(2 * fits * 48 + 8) / 1024**3)
    model, results = Model(), []
    with run.attached(model, torch.tensor([1.0, 0.8, 0.6, 0.4, 0.0])) as stage:
        for sigma, x in ((1.0, 1), (0.8, 2), (0.6, 0), (0.4, 1)):
            with stage.call((POSITIVE, NEGATIVE), sigma, full(x, x)):
                results.append(model(full(x, x)))
    # 7 and 14 were added: linear carries on to 21, last repeats 14
    assert values(results) == [[8, 8], [16, 16], [14, 14] if fits == 1 else [21, 21], [8, 8]]
    assert stage.peak <= run.request.settings.memory * 1024**3
    remark = "for predictor linear: last stood in for it. Raise memory, or set device to cpu."
    assert any(remark in line for line in remarks(run)) is (fits == 1)


def test_the_users_remarks():
    run = cache(plan="c")
    walk(Model(), run, [full(1)] * 4)
    assert remarks(run)[-1] == "The step cache reused nothing: raise its threshold, or take it out."
    run = cache(plan="r")
    walk(Model(), run, [full(1)] * 8)
    assert remarks(run)[-1].startswith("More than 60 % of the steps were reused")
    assert remarks(cache(threshold=0.0)) == ["Step cache (plan): off, all steps computed"]


def test_off_attaches_nothing():
    model = Model()
    for run in (cache(threshold=0.0), cache("off")):
        with run.attached(model, torch.linspace(1, 0, 4)) as stage:
            assert stage is None and "forward" not in model.blocks[0].__dict__


# --- the whole model ---


def test_the_whole_answer_is_the_same_again():
    run, model = cache(plan="crrc", boundary="model"), Model()
    results = walk(model, run, [full(1), full(10), full(20), full(30)])
    # The answer itself, not what was added: 8 again
    assert values(results) == [8, 8, 8, 240] and model.runs == [2, 2, 2]
    assert run.stages[0].peak == 4 * 3 * 4


def test_what_follows_may_work_in_place_on_the_answer():
    run, model = cache(plan="crrc", boundary="model"), Model()
    with run.attached(model, torch.linspace(1, 0, 5)) as stage:
        for sigma in (1.0, 0.75, 0.5):
            with stage.call((POSITIVE,), sigma, full(1)):
                found = model(full(1))
            assert found.unique().item() == 8
            found += 1


def test_windows_of_one_condition_have_their_own():
    run, model = cache(plan="crc", boundary="model"), Model()
    windows = [BatchItem(("p", n), "positive") for n in range(2)]
    with run.attached(model, torch.linspace(1, 0, 4)) as stage:
        found = []
        for sigma, step in ((1.0, 0), (0.67, 1), (0.33, 2)):
            for n, part in enumerate(windows):
                with stage.call((part,), sigma, full(1)):
                    found.append(model(full(1 + n + 10 * step)).unique().item())
    assert found == [8, 16, 8, 16, 168, 176]
    assert computed_text(run) == "crc"


@pytest.mark.parametrize("boundary", ["model", "blocks"])
def test_a_solver_that_comes_to_a_level_twice_follows_the_plan_by_level(boundary):
    """Heun's method: the end of a step and the beginning of the next are evaluated at one sigma."""
    run, model, sigmas = cache(plan="ccrc", boundary=boundary), Model(), [1.0, 0.75, 0.5, 0.25, 0.0]
    with run.attached(model, torch.tensor(sigmas)) as stage:
        for sigma in (1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25):
            with stage.call((POSITIVE,), sigma, full(1)):
                model(full(1))
    assert computed_text(run) == "cccrrcc"


@pytest.mark.parametrize("boundary", ["model", "blocks"])
def test_a_computed_step_says_why(boundary):
    run = cache(plan="r", boundary=boundary, start=0.3, end=0.8)
    walk(Model(), run, [full(1)] * 10)
    assert [call.reason for call in run.stages[0].calls] == [
        *["first steps"] * 3, "", "", "", "rule", "", "last steps", "last steps",
    ]  # fmt: skip
    run = cache("easycache", threshold=10.0, boundary=boundary)
    walk(Model(), run, [full(n + 1) for n in range(10)])
    assert "in a row" in [call.reason for call in run.stages[0].calls]
    assert all(call.seconds > 0 for call in run.stages[0].calls)
