"""When frames are shown, where the file's own times are damaged."""

from __future__ import annotations

from fractions import Fraction

import pytest

from opent2v.media import VideoError
from opent2v.media.timeline import MOST_FRAMES, counted, timed

FPS = Fraction(25)


def test_frames_that_all_have_one_time_keep_the_stated_rate():
    timeline = timed([(Fraction(3), 90), (Fraction(3), 91)], FPS)
    assert timeline.fps == FPS and timeline.length(FPS) == 1


def test_a_frame_in_hours_has_a_rate_above_nought():
    timeline = timed([(Fraction(0), 0), (Fraction(10_000), 1), (Fraction(20_000), 2)], FPS)
    assert timeline.fps == Fraction(1, 10_000)
    assert timeline.pick(timeline.fps, 0, 0, 1) == [0, 1, 2]


@pytest.mark.parametrize(("settings", "picked"), [((0, 0, 1), 8), ((3, 0, 2), 3), ((6, 5, 1), 2), ((8, 0, 1), 0)])
def test_how_many_are_picked(settings, picked):
    assert len(counted(8, FPS).pick(FPS, *settings)) == picked


def test_more_than_can_be_held_are_refused_unless_count_is_set():
    timeline = timed([(Fraction(n), n) for n in range(10)] + [(Fraction(10**15), 10)], FPS)
    with pytest.raises(VideoError, match=f"frames at 25 fps, more than {MOST_FRAMES:,}; its times may be damaged"):
        timeline.pick(FPS, 0, 0, 1)
    assert timeline.pick(FPS, 0, 3, 25) == [0, 1, 2]
