"""What one run takes over from the run before."""

from __future__ import annotations

from opent2v.headless.kept import Kept
from opent2v.headless.runner import run
from opent2v.tests.headless.fake_nodes import CLASSES, FakeLoad, FakeSampler, FakeSave, FakeText
from opent2v.tests.headless.flows import api, load


def counting(*kinds):
    """Classes of which each call is noted, and the notes."""
    calls: list[str] = []

    def wrapped(kind):
        def function(self, **inputs):
            calls.append(kind.__name__)
            return getattr(kind, kind.FUNCTION)(self, **inputs)

        return type(kind.__name__, (kind,), {kind.FUNCTION: function})

    return {**CLASSES, **{kind.__name__: wrapped(kind) for kind in kinds}}, calls


def test_loaders_and_prompts_run_once_for_many_seeds():
    classes, calls = counting(FakeLoad, FakeText, FakeSampler, FakeSave)
    kept = Kept()
    texts = [run(load(api(n3={"seed": seed})), classes, kept=kept)["4"]["outputs"][0] for seed in (1, 2, 3)]
    assert [calls.count(kind) for kind in ("FakeLoad", "FakeText", "FakeSampler", "FakeSave")] == [1, 1, 3, 3]
    assert kept.loads == 1
    plain = [run(load(api(n3={"seed": seed})), classes)["4"]["outputs"][0] for seed in (1, 2, 3)]
    assert texts == plain and len({*texts}) == 3


def test_another_prompt_encodes_again_and_loads_nothing():
    classes, calls = counting(FakeLoad, FakeText)
    kept = Kept()
    for text in ("a circle", "a square", "a square"):
        result = run(load(api(n2={"text": text})), classes, kept=kept)
        assert text in result["4"]["outputs"][0]
    assert calls == ["FakeLoad", "FakeText", "FakeText"]


def test_another_model_is_loaded_after_the_first_was_dropped():
    kept, alive = Kept(), []

    class Load(FakeLoad):
        def load(self, name, dtype):
            alive.append(len(kept._results))
            return super().load(name, dtype)

    for name in ("first", "second", "first"):
        result = run(load(api(n1={"name": name})), {**CLASSES, "FakeLoad": Load}, kept=kept)
        assert f"model {name}" in result["4"]["outputs"][0]
    assert alive == [0, 0, 0] and kept.loads == 3


def test_a_file_that_changed_is_loaded_again():
    state = ["a"]

    class Load(FakeLoad):
        @classmethod
        def IS_CHANGED(cls, name, dtype):
            return state[0]

    kept = Kept()
    for files, loads in (("a", 1), ("a", 1), ("b", 2), (float("nan"), 3), (float("nan"), 4)):
        state[0] = files
        run(load(api()), {**CLASSES, "FakeLoad": Load}, kept=kept)
        assert kept.loads == loads


def test_remarks_are_told_again():
    kept = Kept()
    first = run(load(api()), CLASSES, kept=kept)["2"]["ui"]
    assert run(load(api()), CLASSES, kept=kept)["2"]["ui"] == first == {"text": ["8 letters"]}
