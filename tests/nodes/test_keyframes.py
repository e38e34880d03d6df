"""Keyframes: the pictures that shots begin with and lead into."""

from __future__ import annotations

import pytest
import torch

from opent2v.nodes.keyframes import OpenT2VKeyframes
from opent2v.tests.nodes.calls import remarks


def pictures(*levels, frames=1, side=8):
    return [torch.full((frames, side, side, 3), level) for level in levels]


def chosen(images, transition, **inputs):
    answer = OpenT2VKeyframes().choose(images=images, transition=transition, **inputs)
    return answer["result"], remarks(answer["ui"])


def levels(images):
    return [None if image is None else round(float(image.mean()), 3) for image in images]


def test_a_shot_ends_at_the_next_picture_only_where_it_leads_into_it():
    (starts, ends), told = chosen(pictures(0.1, 0.2, 0.3, 0.4), [0, 1, 8, 1])
    assert levels(starts) == [0.1, 0.2, 0.3, 0.4] and levels(ends) == [0.2, None, 0.4, None]
    assert told == "4 keyframes; 2 of 3 joints lead from one into the next."


def test_a_single_transition_counts_for_all_and_of_a_clip_the_first_frame():
    clip = torch.linspace(0, 1, 5).view(5, 1, 1, 1).expand(5, 8, 8, 3)
    (starts, ends), _ = chosen([clip, clip + 0.5], [1])
    assert [len(start) for start in starts] == [1, 1] and levels(starts) == [0, 0.5] and levels(ends) == [0.5, None]
    assert levels(chosen(pictures(0.1, 0.2), [0])[0][1]) == [None, None]


def test_a_picture_that_the_storyboard_names_takes_the_sampled_ones_place_in_its_size():
    named = [None, torch.full((1, 16, 24, 3), 0.9)]
    (starts, ends), told = chosen(pictures(0.1, 0.2), [0, 1], picture=named)
    assert levels(starts) == [0.1, 0.9] and levels(ends) == [0.9, None] and starts[1].shape == (1, 8, 8, 3)
    assert "The pictures of shots 2 are those that the storyboard names." in told


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"transition": [0, 1]}, "transition has 2 entries for 3 pictures. Connect Storyboard's output"),
        ({"transition": [1], "picture": [None, None]}, "picture has 2 entries for 3 pictures"),
    ],
)
def test_other_numbers_of_pictures_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        chosen(pictures(0.1, 0.2, 0.3), **inputs)
