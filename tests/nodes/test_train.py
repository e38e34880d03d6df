"""Train Video LoRA on a folder of the input folder, on the embedded host."""

from __future__ import annotations

import pytest
import torch

from opent2v.finetune import TrainingError
from opent2v.host import embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.tests.finetune import data
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import wan

SETTINGS = {"steps": 7, "rank": 4, "rate": 1e-2, "batch": 2, "trigger": "sks"}


@pytest.fixture
def folders(tmp_path):
    data.folder_of(tmp_path / "input" / "balls", 3)
    data.write_clip(tmp_path / "input" / "balls", "short", data.frames_of(0, 2), caption="too short")
    embedded.configure(output=tmp_path / "output", input=tmp_path / "input")
    return tmp_path


def train(**inputs):
    model, clip, vae = wan.shared()
    return call("OpenT2VTrainLora", **{"model": model, "clip": clip, "vae": vae, **SETTINGS, **inputs})


def test_a_lora_comes_out_and_changes_the_model(folders):
    (model, file, report, _), ui = train(data="balls", name="first")
    assert file == str(folders / "output" / "loras" / "first.safetensors")
    assert report.splitlines()[0] == "3 clips for Wan tiny, 1 refused"
    assert "  short.mp4: It has 2 frames at 16 fps" in report and f"Saved as {file}" in remarks(ui)
    assert "7 steps of 2 clips, all of them 3.5 times" in report
    plain, x, sigma = wan.shared()[0], torch.ones(1, 16, 3, 4, 4), torch.tensor([0.5])
    with torch.no_grad():
        conditions = plain.conditions({"cross_attn": torch.ones(1, 24, 16)}, x.shape)
        before = plain.denoised(x, sigma, conditions)
        with model.changed():
            after = model.denoised(x, sigma, conditions)
        assert torch.equal(plain.denoised(x, sigma, conditions), before)
    assert (after - before).abs().max() > 1e-4
    with pytest.raises(TrainingError, match="is in the output folder already"):
        train(data="balls", name="first")


def test_an_interrupted_training_goes_on(folders):
    whole = train(data="balls", name="whole")[0][1]

    def stop(node, value, total):
        if total == SETTINGS["steps"] and value == 2:
            embedded.interrupt()

    embedded.configure(output=folders / "output", input=folders / "input", on_progress=stop)
    with pytest.raises(embedded.Interrupted):
        train(data="balls", name="parts")
    assert (folders / "output" / "loras" / "parts" / "checkpoint.safetensors").is_file()
    assert not (folders / "output" / "loras" / "parts.safetensors").exists()
    embedded.configure(output=folders / "output", input=folders / "input")
    (_, parts, report, _), _ = train(data="balls", name="parts")
    assert "are done" in report
    from safetensors.torch import load_file

    expected, resumed = load_file(whole), load_file(parts)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in expected.items())


def test_lists_and_deeper_folders_are_offered(folders):
    data.folder_of(folders / "input" / "deep" / "er", 1)
    (folders / "input" / "list.csv").write_text("video_path,caption\nballs/clip0.mp4,a ball\n")
    names, _ = NODE_CLASS_MAPPINGS["OpenT2VTrainLora"].INPUT_TYPES()["required"]["data"]
    assert names == ["balls", "deep/er", "list.csv"]
    (_, _, report, _), _ = train(data="list.csv", name="listed", steps=1)
    assert report.startswith("1 clips for Wan tiny, 0 refused")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"data": "gone", "name": "a"}, "The folder or list 'gone' is not in the input folder"),
        ({"data": "balls", "name": "../a"}, "holds '/'"),
        ({"data": "balls", "name": "a", "validation": 1.5}, "validation is 1.5"),
    ],
)
def test_what_cannot_be(folders, inputs, said):
    with pytest.raises(ValueError, match=said):
        train(**inputs)


def test_a_model_with_loras_is_refused(folders):
    model = train(data="balls", name="a")[0][0]
    with pytest.raises(ValueError, match="This MODEL has LoRAs applied"):
        train(data="balls", name="b", model=model)
    names = NODE_CLASS_MAPPINGS["OpenT2VTrainLora"]
    assert names.VALIDATE_INPUTS(name="a") is True and "holds '/'" in names.VALIDATE_INPUTS(name="a/b")
