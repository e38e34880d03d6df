"""Clips over one another: where the line stands and what is on each side of it, and how far clips differ."""

from __future__ import annotations

import math

import pytest
import torch

from opent2v.media.overlaid import GAIN, REACH, check_shapes, difference, line_places, psnrs, split


def flat(level, frames=8, height=20, width=100):
    return torch.full((frames, height, width, 3), level)


def test_the_line_moves_to_and_fro_and_each_side_shows_its_clip():
    joined = split(flat(0.8), flat(0.2))
    places = line_places(8, 100)
    assert joined.shape == (8, 20, 100, 3)
    assert places.tolist() == [50, 82, 95, 82, 50, 18, 5, 18], "a sine of 45 pixels about the middle"
    for frame, place in zip(joined, places.tolist(), strict=True):
        assert torch.equal(frame[:, : place - 3], torch.full((20, place - 3, 3), 0.2)), "the reference on the left"
        assert torch.equal(frame[:, place + 3 :], torch.full((20, 97 - place, 3), 0.8)), "the clip on the right"
        assert frame[:, place].min() == 1 and frame[:, place - 3 : place + 3].min() == 0, "white with dark edges"


@pytest.mark.parametrize("frames", [1, 2, 17, 240])
@pytest.mark.parametrize("width", [16, 64, 1920])
def test_the_line_stays_in_the_picture_and_takes_small_steps(frames, width):
    places = line_places(frames, width)
    assert places[0] == width // 2 and places.min() >= 0 and places.max() < width
    most = math.ceil(2 * math.pi * REACH * width / frames) + 1
    assert frames == 2 or all(abs(a - b) <= most for a, b in zip(places, places.roll(1), strict=True)), "in a loop too"


def test_the_difference_is_ten_times_as_bright():
    clip, reference = flat(0.52), flat(0.5)
    assert torch.allclose(difference(clip, reference), torch.tensor(0.02 * GAIN), atol=1e-5)
    assert torch.equal(difference(clip, reference), difference(reference, clip))
    assert difference(flat(0.9), reference).max() == 1, "no brighter than white"
    assert difference(reference, reference).max() == 0
    assert reference.unique().tolist() == [0.5], "what comes in stays as it was"


def test_decibels_of_each_frame():
    clip = flat(0.5)
    clip[3] += 0.1
    values = psnrs(clip, flat(0.5))
    assert values[3] == pytest.approx(20, abs=1e-3) and all(math.isinf(value) for value in values[:3] + values[4:])


def test_a_shorter_clip_holds_its_last_frame_and_another_size_is_scaled():
    short = flat(0.5, 2)
    short[1] = 0.7
    assert psnrs(short, flat(0.7, 5))[1:] == [math.inf] * 4 and len(split(flat(0.1, 5), short)) == 5
    assert split(flat(0.8, height=40, width=200), flat(0.2)).shape == (8, 20, 100, 3)


def test_other_ratios_of_the_sides_are_refused():
    with pytest.raises(ValueError, match="Clip 3 is 60 x 20, the first 100 x 20: clips of other ratios"):
        check_shapes([flat(0.1), flat(0.2, height=40, width=200), flat(0.2, width=60)])
    with pytest.raises(ValueError, match="Clip 2 is"):
        split(flat(0.1, width=60), flat(0.1))
    check_shapes([flat(0.1, height=480, width=832), flat(0.1, height=352, width=608)])
