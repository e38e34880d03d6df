"""Running a graph: order, results, hidden inputs, errors, memory."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from opent2v.headless.runner import NodeError, run
from opent2v.headless.workflow import WorkflowError
from opent2v.tests.headless.fake_nodes import FakeLoad, FakeSampler, FakeSave
from opent2v.tests.headless.flows import CLASSES, api, load, page


def test_nodes_run_in_order_and_give_their_results():
    results = run(load(api()), CLASSES)
    assert list(results) == ["1", "2", "3", "4"]
    assert results["4"]["outputs"] == (
        "cfg=4.0, model=model first, positive=clip first: a circle, seed=1, solver=euler, steps=20",
    )
    assert results["2"]["ui"] == {"text": ["8 letters"]}
    assert results["4"]["ui"]["images"][0]["filename"] == "out_1.mp4"
    assert all(result["seconds"] >= 0 for result in results.values())


def test_only_what_an_output_needs_is_run():
    flow = api()
    flow["9"] = {"class_type": "FakeLoad", "inputs": {"name": "second", "dtype": "auto"}}
    assert "9" not in run(load(flow), CLASSES)


def test_hidden_inputs_are_those_of_comfyui():
    graph = load(page())
    hidden = run(graph, CLASSES)["4"]["ui"]["hidden"][0]
    assert hidden == {"prompt": graph.prompt(), "extra_pnginfo": {"workflow": page()}, "unique_id": "4"}
    assert run(load(api()), CLASSES)["4"]["ui"]["hidden"][0]["extra_pnginfo"] is None
    assert run(graph, CLASSES, extra_pnginfo={"a": 1})["4"]["ui"]["hidden"][0]["extra_pnginfo"] == {"a": 1}


def test_values_arrive_as_the_type_the_node_declares():
    seen = {}

    class Sampler(FakeSampler):
        def sample(self, **inputs):
            seen.update(inputs)
            return super().sample(**inputs)

    run(load(api(n3={"steps": "7", "cfg": 4, "seed": 3.0, "tiled": 0})), {**CLASSES, "FakeSampler": Sampler})
    assert [repr(seen[name]) for name in ("steps", "cfg", "seed", "tiled")] == ["7", "4.0", "3", "False"]


def test_values_of_comfyuis_value_nodes_are_handed_on():
    flow = api(
        n3={"steps": ["5", 0], "tiled": ["6", 0], "cfg": ["7", 0]}, n2={"text": ["8", 0]}, n4={"prefix": ["9", 0]}
    )
    values = {
        "5": ("Int", 30),
        "6": ("Boolean", False),
        "7": ("Float", 2.5),
        "8": ("StringMultiline", "a\nb"),
        "9": ("String", "p"),
    }
    for node_id, (kind, value) in values.items():
        flow[node_id] = {"class_type": f"Primitive{kind}", "inputs": {"value": value}}
    results = run(load(flow), CLASSES)
    assert (
        "cfg=2.5, model=model first, positive=clip first: a\nb, seed=1, solver=euler, steps=30, tiled=False"
        in results["4"]["outputs"]
    )
    assert results["4"]["ui"]["images"][0]["filename"] == "p_1.mp4"


def test_nothing_runs_when_something_is_wrong():
    class Load(FakeLoad):
        def load(self, name, dtype):
            raise AssertionError("must not run")

    with pytest.raises(WorkflowError, match="input 'steps' is 0"):
        run(load(api(n3={"steps": 0})), {**CLASSES, "FakeLoad": Load})


def test_a_failing_node_is_named_and_its_error_chained():
    class Sampler(FakeSampler):
        def sample(self, **inputs):
            raise MemoryError("too large; make it smaller")

    with pytest.raises(NodeError) as caught:
        run(load(api()), {**CLASSES, "FakeSampler": Sampler})
    assert str(caught.value) == 'node 3 "Fake Sampler" (FakeSampler) failed: too large; make it smaller'
    assert caught.value.node_id == "3"
    assert isinstance(caught.value.__cause__, MemoryError)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, r"returned 0 values; expected a tuple of 2"),
        (("one",), r"returned 1 values; expected a tuple of 2"),
        ("text", r"returned str; expected a tuple of 2"),
        ({"ui": {}}, r"returned 0 values"),
    ],
)
def test_a_node_that_returns_too_little_is_named(returned, message):
    class Sampler(FakeSampler):
        def sample(self, **inputs):
            return returned

    with pytest.raises(NodeError, match=message):
        run(load(api()), {**CLASSES, "FakeSampler": Sampler})


def test_an_interrupt_passes_through():
    class Sampler(FakeSampler):
        def sample(self, **inputs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(load(api()), {**CLASSES, "FakeSampler": Sampler})


class Big:
    """Something that shows when it is freed."""


def test_results_are_freed_when_nobody_needs_them_any_more():
    alive = {}

    class Load(FakeLoad):
        def load(self, name, dtype):
            model = Big()
            alive["model"] = weakref.ref(model)
            return model, "clip", "vae"

    class Sampler(FakeSampler):
        def sample(self, **inputs):
            latent = Big()
            alive["latent"] = weakref.ref(latent)
            return latent, 0

    class Save(FakeSave):
        def save(self, latent, prefix, number=1, **hidden):
            gc.collect()
            alive["model while saving"] = alive["model"]()
            return super().save(latent, prefix, number)

    results = run(load(api()), {**CLASSES, "FakeLoad": Load, "FakeSampler": Sampler, "FakeSave": Save})
    assert alive["model while saving"] is None
    assert results["1"]["outputs"] is None
    assert results["4"]["outputs"][0] is alive["latent"]()


def test_the_caller_hears_of_every_node_and_progress_knows_its_node():
    from opent2v.host import embedded

    heard = []

    class Sampler(FakeSampler):
        def sample(self, **inputs):
            embedded.progress(2)(1)
            return super().sample(**inputs)

    embedded.configure(on_progress=lambda *event: heard.append(event))
    run(
        load(api()),
        {**CLASSES, "FakeSampler": Sampler},
        on_node=lambda node, result: heard.append((node, result is not None)),
    )
    assert heard == [
        ("1", False),
        ("1", True),
        ("2", False),
        ("2", True),
        ("3", False),
        ("3", 1, 2),
        ("3", True),
        ("4", False),
        ("4", True),
    ]


def test_nodes_run_without_gradients_as_in_comfyui():
    class Sampler(FakeSampler):
        def sample(self, **inputs):
            return str(torch.is_inference_mode_enabled()), 0

    assert run(load(api()), {**CLASSES, "FakeSampler": Sampler})["4"]["outputs"] == ("True",)
