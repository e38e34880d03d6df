"""Classifiers: what they see, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from opent2v.loaders import ModelFileError
from opent2v.loaders.classifier import load_classifier
from opent2v.tests import red
from opent2v.tests.tiny import wan as tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return red.make(tmp_path_factory.mktemp("classifiers") / "red")


def test_red_pictures_are_called_red(folder):
    frames = torch.full((3, 48, 64, 3), 0.4)
    frames[1] = torch.tensor([0.9, 0.1, 0.1])
    frames[2] = torch.tensor([0.1, 0.1, 0.9])
    shares = load_classifier(folder, ["red"]).shares(frames)
    assert set(shares) == {"harmless", "red"}
    assert torch.allclose(shares["red"] + shares["harmless"], torch.ones(3))
    assert shares["red"][1] > 0.8 and shares["red"][[0, 2]].max() < 0.5


def test_the_models_own_preparation(folder, tmp_path):
    """Against transformers' own image processor where it is there (it needs torchvision or Pillow)."""
    transformers = pytest.importorskip("transformers")
    from PIL import Image

    frames = torch.rand(1, 60, 40, 3).mul(255).round() / 255
    picture = Image.fromarray((frames[0] * 255).byte().numpy())
    for crop in (False, True):
        path = red.make(tmp_path / f"crop-{crop}", crop=crop)
        prepared = json.loads((path / "preprocessor_config.json").read_text())
        options = {"resample": 2, "do_rescale": True, "do_normalize": True, **prepared}
        kind = transformers.CLIPImageProcessor if crop else transformers.ViTImageProcessor
        wanted = kind(**options)(picture, return_tensors="pt")["pixel_values"]
        got = load_classifier(path, ["red"])._prepared(frames)
        assert got.shape == wanted.shape and (got - wanted).abs().max() < 0.02


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (["nsfw"], "red: has no label 'nsfw'. Its labels are: harmless, red."),
        ([], "red: was asked for no label. Its labels are: harmless, red."),
    ],
)
def test_labels_it_does_not_have(folder, wanted, said):
    with pytest.raises(ModelFileError) as error:
        load_classifier(folder, wanted)
    assert str(error.value) == said


def test_no_classifier(folder, tmp_path):
    path = red.make(tmp_path / "other")
    tiny.edit(path / "config.json", architectures=["ViTModel"])
    with pytest.raises(ModelFileError) as error:
        load_classifier(path, ["red"])
    assert str(error.value) == (
        f"{path / 'config.json'}: names the model 'ViTModel'; expected a picture classifier, whose name ends in "
        "ForImageClassification."
    )


def test_damaged_folders(tmp_path):
    path = red.make(tmp_path / "damaged")
    (path / "config.json").write_text("{")
    with pytest.raises(ModelFileError, match="cannot be read as JSON"):
        load_classifier(path, ["red"])
    path = red.make(tmp_path / "empty")
    (path / "model.safetensors").unlink()
    (path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelFileError, match=r"model\.safetensors is missing\. Get the safetensors version"):
        load_classifier(path, ["red"])
    path = red.make(tmp_path / "cut")
    (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:100])
    with pytest.raises(ModelFileError, match=r"model\.safetensors"):
        load_classifier(path, ["red"])


def test_missing_weights(tmp_path):
    from safetensors.torch import load_file, save_file

    path = red.make(tmp_path / "part")
    weights = load_file(path / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelFileError, match=r"has no classifier\.weight, which ViTForImageClassification needs"):
        load_classifier(path, ["red"])
