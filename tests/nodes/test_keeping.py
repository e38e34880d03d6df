"""What is kept is taken where nothing has changed, and made anew where any input of a run has."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors import SafetensorError

from opent2v.headless.runner import NodeError, run
from opent2v.headless.workflow import load_workflow
from opent2v.host import embedded
from opent2v.media import read_video
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS, keeping
from opent2v.nodes.keeping import Untold, key_of
from opent2v.sampling.windows import Windows
from opent2v.tests.nodes.calls import remarks
from opent2v.tests.nodes.test_storyboard import OUTLINE, story_flow
from opent2v.tests.tiny import wan as tiny

pytestmark = pytest.mark.skipif(not (tiny.BUNDLED / "model_index.json").is_file(), reason="the bundled model is absent")
STORY = f"5 f | a red star\n5 f | a blue star | lora {OUTLINE}\n5 f | a green circle"


@pytest.fixture(autouse=True)
def folders(tmp_path):
    (tmp_path / "input").mkdir()
    embedded.configure(output=tmp_path / "output", input=tmp_path / "input")
    return tmp_path


@pytest.fixture
def sampled(monkeypatch):
    """The seeds that were really sampled."""
    seeds, sample = [], NODE_CLASS_MAPPINGS["OpenT2VSampler"]._sampled

    def counted(self, **values):
        seeds.append(values["seed"])
        return sample(self, **values)

    monkeypatch.setattr(NODE_CLASS_MAPPINGS["OpenT2VSampler"], "_sampled", counted)
    return seeds


def flow(story, **sampling):
    graph = story_flow(story, keep=True)
    graph["5"]["inputs"] |= {"keep": True, **sampling}
    return graph


def result(graph):
    return run(load_workflow(graph, NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS), NODE_CLASS_MAPPINGS)


def files(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "output").glob("shot_*.mp4")}


def test_the_same_story_is_not_made_again(folders, sampled):
    first = result(flow(STORY))
    before, seeds = files(folders), len(sampled)
    again = result(flow(STORY))
    assert (seeds, len(sampled), len(before)) == (3, 3, 3) and files(folders) == before
    assert remarks(first["5"]["ui"]).count("Kept as OpenT2V_kept/") == 3
    assert remarks(again["5"]["ui"]).count("Taken from OpenT2V_kept/") == 3
    assert remarks(again["6"]["ui"]).count("Taken from shot_") == 3
    assert remarks(again["7"]["ui"]).startswith("3 clips, 15 frames")


def test_of_a_changed_story_only_the_changed_shot_is_made(folders, sampled):
    result(flow(STORY))
    before = files(folders)
    result(flow(STORY.replace("a blue star", "a white star")))
    assert len(sampled) == 4 and len(files(folders).keys() - before.keys()) == 1
    result(flow(STORY.replace(OUTLINE, f"{OUTLINE} 0.5")))
    assert len(sampled) == 5
    result(flow(f"5 f | a yellow square\n{STORY}"))  # the others move back and stay as they are
    assert len(sampled) == 6 and len(files(folders)) == 6
    assert all(files(folders)[name] == time for name, time in before.items())


def test_a_stopped_night_goes_on_where_it_stopped(folders, sampled, monkeypatch):
    sample, count = NODE_CLASS_MAPPINGS["OpenT2VSampler"]._sampled, 0

    def stopped(self, **values):
        nonlocal count
        count += 1
        if count == 3:
            raise RuntimeError("the power went off")
        return sample(self, **values)

    with monkeypatch.context() as patched:
        patched.setattr(NODE_CLASS_MAPPINGS["OpenT2VSampler"], "_sampled", stopped)
        with pytest.raises(NodeError, match="the power went off"):
            result(flow(STORY))
    assert len(sampled) == 2 and not files(folders)
    result(flow(STORY))
    assert len(sampled) == 3 and len(files(folders)) == 3


def test_what_is_kept_equals_what_is_made(folders):
    graph = flow("5 f | a red star\n5 f | a blue star")
    graph["8"] = {"class_type": "OpenT2VDecode", "inputs": {"vae": ["1", 2], "latent": ["5", 0]}}
    graph["9"] = {
        "class_type": "OpenT2VSaveVideo",
        "inputs": {
            "images": ["8", 0], "fps": 16.0, "filename_prefix": "exact", "quality": 80, "format": "mkv ffv1",
            "provenance": False,
        },
    }  # fmt: skip
    del graph["6"], graph["7"]
    for _ in range(2):
        result(graph)
    made, kept = (read_video(folders / "output" / f"exact_0000{n}.mkv").frames for n in (1, 3))
    assert torch.equal(made, kept)


@pytest.mark.parametrize(
    ("node", "values"),
    [
        ("5", {"seed": 4}), ("5", {"steps": 2}), ("5", {"cfg": 1.5}), ("5", {"shift": 2.0}), ("5", {"solver": "euler"}),
        ("5", {"sigmas": "1.0, 0.5"}), ("3", {"positive": "another"}), ("4", {"frames": 9}), ("4", {"width": 32}),
    ],
)  # fmt: skip
def test_every_setting_counts(sampled, node, values):
    graph = flow("5 f | a red star\n5 f | a blue star")
    result(graph)
    changed = copy.deepcopy(graph)
    changed[node]["inputs"] |= values
    result(changed)
    assert len(sampled) > 2


def test_a_damaged_file_is_made_anew(folders, sampled):
    graph = flow("5 f | a red star\n5 f | a blue star")
    result(graph)
    for path in (folders / "output" / keeping.FOLDER).iterdir():
        path.write_bytes(path.read_bytes()[:100])
    result(graph)
    assert len(sampled) == 4


@pytest.mark.parametrize("fault", ["a file in its place", "full while it is written"])
def test_a_latent_that_cannot_be_kept_is_handed_on(folders, fault, monkeypatch):
    graph = flow("5 f | a red star\n5 f | a blue star")
    reason = "a file stands where a folder is needed"
    (folders / "output").mkdir(exist_ok=True)
    if fault == "a file in its place":
        (folders / "output" / keeping.FOLDER).write_bytes(b"")
    else:
        reason = "No space left on device"

        def full(tensors, path, metadata):
            raise SafetensorError("Error while serializing: No space left on device")

        monkeypatch.setattr("safetensors.torch.save_file", full)
    ui = result(graph)
    line = f"The latent was not kept. Cannot save to {folders / 'output' / keeping.FOLDER}: "
    assert remarks(ui["5"]["ui"]).count(line) == 2 and reason in remarks(ui["5"]["ui"])
    assert remarks(ui["7"]["ui"]).startswith("2 clips, 10 frames")
    if fault != "a file in its place":
        assert not [*(folders / "output" / keeping.FOLDER).iterdir()]


def test_what_cannot_be_told_is_made_and_said(folders, sampled):
    graph = flow("5 f | a\n5 f | b")
    graph["6"]["inputs"]["filename_prefix"] = "shot_%width%"
    ui = result(graph)["6"]["ui"]
    assert remarks(ui).count("Not kept: filename_prefix holds the size") == 2
    with pytest.raises(Untold, match="it holds object data, of which that cannot be told"):
        key_of({"latent": {"x": object()}}, {}, graph, "5")
    with pytest.raises(Untold, match="this node is not in the graph that was sent"):
        key_of({}, {}, graph, "50")


def test_a_node_behind_the_model_counts_but_not_the_other_shots():
    graph = {
        "1": {"class_type": "OpenT2VLoadModel", "inputs": {"name": "a"}},
        "2": {"class_type": "OpenT2VStoryboard", "inputs": {"model": ["1", 0], "shots": "x"}},
        "3": {"class_type": "Patch", "inputs": {"model": ["2", 3], "scale": 1.0, "blocks": [1, 2, 3]}},
        "5": {"class_type": "Sample", "inputs": {"model": ["3", 0]}},
    }
    key = keeping._behind(graph, ["3", 0], {})
    for node, name, value, is_same in (
        ("2", "shots", "y", True),
        ("3", "scale", 2.0, False),
        ("3", "blocks", [1, 2], False),
        ("1", "name", "b", False),
    ):
        changed = copy.deepcopy(graph)
        changed[node]["inputs"][name] = value
        assert (keeping._behind(changed, ["3", 0], {}) == key) is is_same


@pytest.mark.parametrize("link", [["2", 0], ["6", 0], ["7", 0], ["1", 9]])
def test_a_model_patched_by_a_value_of_another_node_is_not_kept(link, monkeypatch):
    outputs = {"ModelSamplingSD3": ("MODEL",), "FloatsFromAFile": ("FLOAT",)}
    monkeypatch.setattr(keeping.host, "node_outputs", lambda name: outputs.get(name, ()))
    graph = {
        "1": {"class_type": "OpenT2VLoadModel", "inputs": {}},
        "2": {"class_type": "OpenT2VStoryboard", "inputs": {"model": ["1", 0]}},
        "3": {"class_type": "ModelSamplingSD3", "inputs": {"model": ["2", 3], "shift": link}},
        "4": {"class_type": "OpenT2VLoadLora", "inputs": {"model": ["3", 0], "clip": ["2", 4]}},
        "6": {"class_type": "FloatsFromAFile", "inputs": {}},
    }
    with pytest.raises(Untold, match="ModelSamplingSD3 takes shift from another node, whose value is not known here"):
        keeping._behind(graph, ["4", 0], {})
    graph["3"]["inputs"]["shift"] = 5.0
    keeping._behind(graph, ["4", 0], {})


def test_the_sampler_says_that_a_model_patched_by_another_node_is_not_kept(sampled):
    graph = flow("5 f | a red star\n5 f | a blue star")
    graph["8"] = {
        "class_type": "OpenT2VApplyStepCache", "inputs": {"model": ["2", 3], "step_cache": ["9", 0]}
    }  # fmt: skip
    settings = NODE_CLASS_MAPPINGS["OpenT2VStepCache"].INPUT_TYPES()["required"]
    values = {name: options.get("default", kind[0]) for name, (kind, options) in settings.items()}
    graph["9"] = {"class_type": "OpenT2VStepCache", "inputs": values}
    graph["5"]["inputs"]["model"] = ["8", 0]
    line = "Not kept: OpenT2VApplyStepCache takes step_cache from another node, whose value is not known here."
    for _ in range(2):
        assert remarks(result(graph)["5"]["ui"]).count(line) == 2
    assert len(sampled) == 4


def test_a_long_chain_of_loras_is_walked_once():
    graph = {"0": {"class_type": "OpenT2VLoadModel", "inputs": {}}}
    for n in range(1, 61):
        inputs = {"model": [f"{n - 1}", 0], "clip": [f"{n - 1}", 1], "strength": 1.0}
        graph[f"{n}"] = {"class_type": "OpenT2VLoadLora", "inputs": inputs}
    texts = {}
    keeping._behind(graph, ["60", 0], texts)
    assert len(texts) == 121


def test_values_that_look_alike_have_keys_of_their_own():
    graph = {"5": {"class_type": "Sample", "inputs": {}}}
    values = [
        1, 1.0, True, "1", [1], (1, 1), [[1], 1], [1, [1]], {"a": 1}, {"b": 1}, torch.ones(2), torch.ones(1, 2),
        torch.ones(2).half(), torch.ones(2).bfloat16(), torch.tensor([1.0, 2.0]), Windows(), Windows(length=5),
    ]  # fmt: skip
    keys = [key_of({"x": value}, {}, graph, "5") for value in values]
    assert len({*keys}) == len(values)
    assert keys == [key_of({"x": value}, {}, graph, "5") for value in values]


def test_another_version_of_the_pack_makes_all_anew(tmp_path, monkeypatch):
    graph = load_workflow(flow(STORY), NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS)
    prompt = {node: dict(entry) for node, entry in graph.items()}
    monkeypatch.setattr(keeping, "_PACK", tmp_path)
    keys = []
    for code in ("computed = 1", "computed = 1", "computed = 2"):
        for room in keeping._ROOMS:
            (tmp_path / room).mkdir(exist_ok=True)
        (tmp_path / "sampling" / "run.py").write_text(code)
        keeping._code.cache_clear()
        keys.append(key_of({"seed": 1}, {}, prompt, "5"))
    keeping._code.cache_clear()
    assert keys[0] == keys[1] != keys[2]
    assert all(any((keeping.Path(keeping.__file__).parent.parent / room).rglob("*.py")) for room in keeping._ROOMS)
