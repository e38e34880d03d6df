"""Storyboard, alone and in front of a graph that ends in one file."""

from __future__ import annotations

import av
import numpy as np
import pytest
from PIL import Image

from opent2v.headless.runner import run
from opent2v.headless.workflow import load_workflow
from opent2v.host import InputRefused, embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.nodes.storyboard import OpenT2VStoryboard
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import wan as tiny

OUTLINE = "opent2v-quickstart-outline.safetensors"
pytestmark = pytest.mark.skipif(not (tiny.BUNDLED / "model_index.json").is_file(), reason="the bundled model is absent")


@pytest.fixture(autouse=True)
def folder(tmp_path):
    (tmp_path / "input").mkdir()
    embedded.configure(output=tmp_path / "output", input=tmp_path / "input")
    return tmp_path / "input"


@pytest.fixture(scope="module")
def loaded():
    (model, clip, vae, *_), _ = call("OpenT2VLoadModel")
    return model, clip, vae


def test_lists_of_every_shot(folder, loaded):
    model, clip, _ = loaded
    Image.fromarray(np.full((8, 12, 3), 51, np.uint8)).save(folder / "start.png")
    story = f"1 s | a red star | seed 5 | picture start.png\na blue star | lora {OUTLINE} 0.5 | fade 4 f"
    result, ui = call("OpenT2VStoryboard", model=model, clip=clip, shots=story, seed=9)
    prompts, frames, seeds, models, clips, pictures, transitions, labels, travel, whole = result
    assert prompts == ["a red star", "a blue star"] and frames == [17, 33] and seeds == [5, 9]
    assert transitions == [0, 4] and labels == ["shot_001", "shot_002"]
    assert pictures[0].shape == (1, 8, 12, 3) and float(pictures[0].mean()) == pytest.approx(0.2)
    assert pictures[1] is None
    assert models[0] is model and clips[0] is clip
    assert embedded.fingerprint(models[1])[1] and not embedded.fingerprint(models[0])[1]
    assert travel == "0 f: a red star\n12 f: a red star\n17 f: a blue star\n45 f: a blue star" and whole == 45
    assert remarks(ui).startswith("2 shots, 46 frames at 16 fps (2.9 s)\n") and OUTLINE in remarks(ui)


def test_a_table_in_place_of_lines(folder, loaded):
    (folder / "story.csv").write_text("prompt;length;transition\na;2 s;\nb;;fade 3 f\n")
    (prompts, frames, *_), _ = call("OpenT2VStoryboard", model=loaded[0], file="story.csv", shots="")
    assert prompts == ["a", "b"] and frames == [33, 33]


@pytest.mark.parametrize(
    ("story", "message"),
    [
        ("a | picture gone.png\nb | lora none.pt", r"shot 1 \(line 1\): file 'gone.png' is not(.|\n)*shot 2 \(line 2"),
        ("a | picture ../x.png", "leads out of the input folder"),
        ("a | sed 3", "shots: These shots cannot be made:\nshot 1 .*'sed 3' is no part of a shot"),
    ],
)
def test_bad_shots_are_refused_before_anything_is_loaded(story, message):
    with pytest.raises(InputRefused, match=message):
        OpenT2VStoryboard.VALIDATE_INPUTS(shots=story, file="none")


def test_a_table_without_prompts_is_refused(folder):
    (folder / "story.csv").write_text("text\na\n")
    with pytest.raises(InputRefused, match=r"file: story.csv has no column prompt; it has text\. Read are"):
        OpenT2VStoryboard.VALIDATE_INPUTS(shots="", file="story.csv")
    assert OpenT2VStoryboard.VALIDATE_INPUTS(shots=None, file=None) is True


def test_fades_longer_than_a_shot(loaded):
    with pytest.raises(ValueError, match=r"shot 2 \(line 2\): it has 5 frames, and the fades at its ends take 8"):
        call("OpenT2VStoryboard", model=loaded[0], shots="a\n5 f | b | fade 8 f")


def test_a_picture_that_changed_is_read_again(folder):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "start.png")
    before = OpenT2VStoryboard.IS_CHANGED(file="none", shots="a | picture start.png")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / "start.png")
    assert OpenT2VStoryboard.IS_CHANGED(file="none", shots="a | picture start.png") != before
    assert OpenT2VStoryboard.IS_CHANGED(file="none", shots="a") == ""


def story_flow(shots, **decoding):
    return {
        "1": {"class_type": "OpenT2VLoadModel", "inputs": {"model": "opent2v-quickstart", "dtype": "auto"}},
        "2": {
            "class_type": "OpenT2VStoryboard",
            "inputs": {"model": ["1", 0], "clip": ["1", 1], "shots": shots, "file": "none", "seed": 1},
        },
        "3": {
            "class_type": "OpenT2VEncodePrompt", "inputs": {"clip": ["2", 4], "positive": ["2", 0], "negative": ""}
        },
        "4": {
            "class_type": "OpenT2VEmptyLatent",
            "inputs": {"model": ["1", 0], "width": 0, "height": 0, "frames": ["2", 1]},
        },
        "5": {
            "class_type": "OpenT2VSampler",
            "inputs": {
                "model": ["2", 3], "positive": ["3", 0], "negative": ["3", 1], "latent": ["4", 0], "seed": ["2", 2],
                "steps": 1, "cfg": 1.0, "shift": 0.0, "solver": "reference", "denoise": 1.0,
            },
        },
        "6": {
            "class_type": "OpenT2VDecodeToVideo",
            "inputs": {
                "vae": ["1", 2], "latent": ["5", 0], "fps": 16.0, "filename_prefix": "shot", "quality": 80, **decoding,
            },
        },
        "7": {
            "class_type": "OpenT2VJoinFiles",
            "inputs": {"files": ["6", 1], "overlap": ["2", 6], "filename_prefix": "story", "quality": 80},
        },
    }  # fmt: skip


def test_a_story_ends_in_one_file(tmp_path):
    shots = f"5 f | a red star\n9 f | a blue star | lora {OUTLINE} | fade 2 f\n5 f | a green circle"
    flow = load_workflow(story_flow(shots), NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS)
    results = run(flow, NODE_CLASS_MAPPINGS)
    assert remarks(results["7"]["ui"]).startswith("3 clips, 17 frames at 16 fps\nJoints at frames 3, 12.")
    (saved,) = results["7"]["ui"]["images"]
    with av.open(str(tmp_path / "output" / saved["filename"])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 17
    assert len(list((tmp_path / "output").glob("shot_*.mp4"))) == 3
