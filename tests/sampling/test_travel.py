"""Prompts that travel: how texts are read, which prompt a moment has, and how two are mixed."""

from __future__ import annotations

import pytest
import torch

from opent2v.sampling import SamplingError
from opent2v.sampling.travel import AT, Place, check_travel, mixed, mixture, moment_of, travel, travels


def test_moments_in_seconds_frames_and_per_cent():
    prompts = travel("0 s: a red star / 2.5s: a blue star\n80 f: a green star", 16.0)
    assert prompts == [(Place(0), "a red star"), (Place(40), "a blue star"), (Place(80), "a green star")]
    shares = travel("0 %: night / 50%: day", 16.0)
    assert shares == [(Place(0, True), "night"), (Place(0.5, True), "day")]
    assert shares[1][0].frame(33) == 16 and prompts[1][0].frame(33) == 40


@pytest.mark.parametrize(
    "text", ["a red star", "", "at 3 s: it moves / 5 s: it stops", "1/2 of a star: red", "3 cats: one black"]
)
def test_other_texts_are_one_prompt(text):
    assert travel(text, 16.0) == []


@pytest.mark.parametrize(
    ("text", "fps", "message"),
    [
        ("0 s: / 2 s: a star", 16.0, "The prompt at 0 s is empty"),
        ("2 s: a star / 1 s: a moon", 16.0, "The prompt at 1 s is not behind the one before it"),
        ("0 s: a star / 50 %: a moon", 16.0, "The prompt at 50 % stands beside others in another count"),
        ("0 s: a star / 1 s: a moon", 0.0, "are not known, so its prompt cannot travel by seconds. Count in frames"),
    ],
)
def test_bad_moments_are_named(text, fps, message):
    with pytest.raises(SamplingError, match=message):
        travel(text, fps)


def test_a_moment_between_two_stops_mixes_them():
    stops = [0.0, 40.0, 80.0]
    assert mixture(stops, 10) == (0, 1, 0.25)
    assert mixture(stops, 60) == (1, 2, 0.5)
    assert mixture(stops, 0)[::2] == (0, 0.0) and mixture(stops, 95) == (2, 2, 0.0)
    assert mixture([8.0, 16.0], 3) == (0, 0, 0.0)
    assert mixture(stops, 40)[1:] in ((1, 0.0), (1, 1.0))


def test_windows_know_their_moment():
    assert moment_of([0, 1, 2, 3, 4], 33, 4) == 8
    assert moment_of([31, 32, 0, 1], 33, 4) == pytest.approx(32.5 * 4)


def test_tensors_are_mixed_and_what_does_not_fit_is_the_nearers():
    first = {"context": torch.zeros(1, 2, 3), "mask": torch.tensor([[1, 1]])}
    second = {"context": torch.ones(1, 2, 3), "mask": torch.tensor([[1, 1]])}
    assert torch.allclose(mixed(first, second, 0.25)["context"], torch.full((1, 2, 3), 0.25))
    longer = {"context": torch.ones(1, 4, 3), "mask": torch.tensor([[1, 1]])}
    assert mixed(first, longer, 0.6) == longer and mixed(first, longer, 0.4) == first
    masked = {**second, "mask": torch.tensor([[1, 0]])}
    assert torch.equal(mixed(first, masked, 0.4)["context"], first["context"])


def test_only_a_run_in_windows_travels():
    context = torch.zeros(1, 2, 3)
    plain, stops = [[context, {}]], [[context, {AT: Place(0)}], [context, {AT: Place(9)}]]
    assert not travels(plain) and travels(stops)
    check_travel(False, 1)
    check_travel(True, 2)
    with pytest.raises(
        SamplingError, match=r"computes the whole video at once, with one prompt\. Connect Video Windows"
    ):
        check_travel(True, 1)
