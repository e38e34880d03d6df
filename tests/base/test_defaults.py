"""A folder's own defaults in place of its family's."""

from __future__ import annotations

import pytest

from opent2v.base import Defaults

OURS = Defaults(848, 480, 19, 30.0, steps=64, guidance=4.5, negative="blurry")


def test_what_a_folder_states_takes_the_place_and_the_rest_stays():
    own = {"width": 96, "fps": 8, "guidance": 1, "negative": "", "title": "tiny", "max_tokens": 32}
    assert OURS.with_overrides(own) == Defaults(96, 480, 19, 8.0, steps=64, guidance=1.0, negative="")
    assert OURS.with_overrides({}) == OURS


def test_rates_and_scales_are_floats():
    made = OURS.with_overrides({"fps": 8, "guidance": 1, "picture_guidance": 3})
    assert [type(value) for value in (made.fps, made.guidance, made.picture_guidance)] == [float] * 3
    with pytest.raises(TypeError):  # which reading a folder tells as a value of the wrong kind
        OURS.with_overrides({"fps": None})
