"""Steps in a row, frames in pieces: the cut of the pieces never matters, and memory stays small."""

import weakref
from fractions import Fraction

import pytest
import torch

from opent2v.media.finishing import (
    Caption,
    ColourMatch,
    ContentCheck,
    Deflicker,
    FrameRate,
    Loop,
    Watermark,
    finish,
    read_captions,
)
from opent2v.tests.media.finishing.clips import moving, run

STEPS = {
    "colour": ColourMatch(),
    "deflicker": Deflicker(5),
    "motion": FrameRate(Fraction(24)),
    "blend": FrameRate(Fraction(10), "blend"),
    "caption": Caption(tuple(read_captions("1\n00:00:00,200 --> 00:00:00,400\nHi"))),
    "watermark": Watermark(torch.rand(8, 16, 4)),
    "loop": Loop(3),
    "ping-pong": Loop(0),
    "check": ContentCheck(lambda frames: {"bad": frames[:, 0, 0, 0]}, 3, 0.0, "blur"),
}


@pytest.mark.parametrize("name", STEPS)
def test_the_cut_of_the_pieces_changes_nothing(name):
    clip = moving(11, 32) * torch.linspace(1, 0.8, 11).view(-1, 1, 1, 1)
    whole, *_ = run(STEPS[name], frames=clip, piece=11)
    for piece in (1, 2, 5):
        cut, *_ = run(STEPS[name], frames=clip, piece=piece)
        assert cut.shape == whole.shape and (cut - whole).abs().max() < 2e-6


def test_steps_follow_each_other_and_rates_too():
    frames, fps, _ = run(FrameRate(Fraction(32)), Loop(0), FrameRate(Fraction(8)), frames=moving(5, 32))
    assert (fps, frames.shape[0]) == (8, 5)  # 5 -> 10 -> 18 frames at 32 -> 4.5 at 8


def test_without_steps_frames_pass_untouched():
    clip = torch.rand(5, 8, 8, 4)
    frames, fps, notes = run(frames=clip)
    assert torch.equal(frames, clip) and fps == 16 and notes == []


def test_grey_and_alpha_become_rgb_for_steps():
    for channels in (1, 4):
        frames, *_ = run(Deflicker(3), frames=torch.rand(3, 8, 8, channels))
        assert frames.shape == (3, 8, 8, 3)


@pytest.mark.parametrize("name", [name for name in STEPS if name != "ping-pong"])
def test_memory_does_not_grow_with_the_video(name):
    """No step keeps a frame longer than its window, so far more pieces come in than are ever alive."""
    alive, most = [], 0

    def pieces():
        nonlocal most
        for n in range(40):
            piece = torch.full((2, 16, 16, 3), 0.3 + 0.005 * n)
            alive.append(weakref.ref(piece))
            yield piece
            del piece
            most = max(most, sum(ref() is not None for ref in alive))

    frames, _, _ = finish([STEPS[name]], pieces(), Fraction(16))
    count = 0
    for frame in frames:
        count += frame.shape[0]
        del frame
    assert count >= 40 and most <= 6
