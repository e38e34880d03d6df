"""The content check from folder to file: stop, blur and flag, with a classifier that finds red."""

from __future__ import annotations

import pytest
import torch

from opent2v.host import embedded
from opent2v.loaders import ModelFileError
from opent2v.media.finishing import ContentFound
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.tests import red
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import wan as tiny


@pytest.fixture
def models(tmp_path):
    red.make(tmp_path / "models" / "classifiers" / "red")
    embedded.configure(models=tmp_path / "models", output=tmp_path / "output")
    return tmp_path / "models"


def check(**given):
    return call("OpenT2VContentCheck", **{"model": "red", "labels": "red", "every": 2, **given})[0][0]


def frames():
    clip = torch.full((6, 32, 32, 3), 0.3)
    clip[2:4] = torch.tensor([0.9, 0.1, 0.1])
    clip[2:4, ::2] *= 0.7
    return clip


def test_folders_are_listed(models):
    red.make(models / "classifiers" / "of others" / "by colour" / "red")
    names = NODE_CLASS_MAPPINGS["OpenT2VContentCheck"].INPUT_TYPES()["required"]["model"][0]
    assert names == ["red", "of others/by colour/red"]


def test_nothing_to_choose_from():
    names = NODE_CLASS_MAPPINGS["OpenT2VContentCheck"].INPUT_TYPES()["required"]["model"][0]
    assert names == ["put a classifier's folder into models/classifiers"]
    with pytest.raises(ModelFileError) as error:
        check(model=names[0])
    assert str(error.value).startswith('The classifier "put a classifier\'s folder into models/classifiers" is not')


def test_a_wrong_label_is_told_before_the_run(models):
    with pytest.raises(ModelFileError, match=r"has no label 'nsfw'\. Its labels are: harmless, red"):
        check(labels="red, nsfw")


def test_flag_and_blur(models):
    (flagged, _, notes), ui = call("OpenT2VFinishFrames", images=frames(), finishing=check(action="flag"))
    assert torch.equal(flagged, frames()) and ui["opent2v_remarks"] == [notes]
    assert notes.startswith("Content check: 1 of 3 checked frames flagged. frame 2 (second 0.12): red ")
    (blurred, *_), _ = call("OpenT2VFinishFrames", images=frames(), finishing=check(action="blur"))
    changed = (blurred - frames()).abs().amax(dim=(1, 2, 3)) > 0.05
    assert changed.tolist() == [False, False, True, True, False, False]


def test_stop_leaves_no_file(models, tmp_path):
    _, _, vae = tiny.shared()
    latent = {"samples": torch.randn(1, 16, 2, 4, 4)}
    with pytest.raises(ContentFound, match="and no video is made"):
        call("OpenT2VDecodeToVideo", vae=vae, latent=latent, finishing=check(labels="harmless", threshold=0.0))
    assert [path for path in (tmp_path / "output").rglob("*") if path.is_file()] == []


def test_nobody_is_checked_who_did_not_ask():
    for node in ("OpenT2VDecodeToVideo", "OpenT2VFinishFrames", "OpenT2VSaveVideo"):
        assert "model" not in NODE_CLASS_MAPPINGS[node].INPUT_TYPES()["required"]
