"""The content check's three actions, with a classifier that looks at how red a frame is."""

import pytest
import torch

from opent2v.media.finishing import ContentCheck, ContentFound
from opent2v.tests.media.finishing.clips import run

FRAMES = torch.zeros(12, 32, 32, 3)
FRAMES[:, ::2, ::2] = 0.5
FRAMES[4:8, ..., 0] = 0.9
FRAMES[4:8, 0, 0] = 0.1


def red(frames):
    return {"red": frames[..., 0].mean(dim=(1, 2)), "white": frames.mean(dim=(1, 2, 3))}


def test_stop():
    with pytest.raises(ContentFound) as error:
        run(ContentCheck(red, 4, 0.6, "stop"), frames=FRAMES, piece=3)
    assert str(error.value) == (
        "The content check found red 0.90 in frame 4 (second 0.25), and no video is made. "
        "Change the prompt or the seed, or the check's threshold or action."
    )


def test_blur_takes_the_whole_group():
    frames, _, notes = run(ContentCheck(red, 4, 0.6, "blur"), frames=FRAMES)
    assert torch.equal(frames[:4], FRAMES[:4]) and torch.equal(frames[8:], FRAMES[8:])
    assert frames[4:8].std(dim=(1, 2))[..., 1].max() < 0.1 < FRAMES[4:8].std(dim=(1, 2))[..., 1].min()
    assert notes == ["Content check: 1 of 3 checked frames blurred. frame 4 (second 0.25): red 0.90"]


def test_flag_changes_nothing():
    frames, _, notes = run(ContentCheck(red, 2, 0.6, "flag"), frames=FRAMES)
    assert torch.equal(frames, FRAMES)
    assert notes[0].startswith("Content check: 2 of 6 checked frames flagged. frame 4 (second 0.25): red 0.90; frame 6")


def test_nothing_found():
    _, _, notes = run(ContentCheck(red, 1, 0.99, "stop"), frames=FRAMES)
    assert notes == ["Content check: 0 of 12 checked frames flagged."]
