"""Joining clips and making loops."""

import pytest
import torch

from opent2v.media.finishing import Loop, join
from opent2v.tests.media.finishing.clips import moving, psnr, run


def grey(*levels):
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 4, 6, 3).contiguous()


def test_a_cut_and_a_cross_fade():
    one, two = grey(0.0, 0.0, 0.0, 0.0), grey(1.0, 1.0, 1.0)
    assert join(one, two, 0)[:, 0, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert join(one, two, 3)[:, 0, 0, 0].tolist() == pytest.approx([0, 0.25, 0.5, 0.75])


def test_colours_meet_and_may_change_later():
    first = moving(5, 32)
    second = moving(5, 32).flip(0) * 0.7
    second[3:] *= 0.5  # a change of light of its own
    joined = join(first, second, 0, 1.0)
    assert psnr(joined[5], first[-1]) > 35 > psnr(second[0], first[-1])
    assert joined[8].mean() < 0.65 * joined[5].mean()
    assert torch.equal(join(first, second, 0, 0.0)[5:], second)


def test_clips_that_do_not_fit():
    with pytest.raises(ValueError) as error:
        join(torch.zeros(3, 4, 6, 3), torch.zeros(3, 8, 6, 3), 0)
    assert str(error.value) == (
        "The first clip is 6 x 4 pixels and the second 6 x 8; both need the same size. "
        "Scale one with ComfyUI's Upscale Image first."
    )
    with pytest.raises(ValueError) as error:
        join(grey(0.0, 0.0), grey(1.0, 1.0, 1.0), 3)
    assert str(error.value) == (
        "The clips would overlap by 3 frames, but have 2 and 3. Choose an overlap no longer than the shorter clip."
    )


def test_ping_pong_shows_the_turning_points_once():
    frames, *_ = run(Loop(0), frames=grey(0.0, 0.2, 0.4, 0.6))
    assert frames[:, 0, 0, 0].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.4, 0.2], abs=1 / 255)


@pytest.mark.parametrize("piece", [1, 3, 10])
def test_a_faded_loop_goes_over_into_its_beginning(piece):
    levels = [n / 10 for n in range(10)]
    frames, *_ = run(Loop(2), frames=grey(*levels), piece=piece)
    expected = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8 * 2 / 3, (0.9 + 2 * 0.1) / 3]
    assert frames[:, 0, 0, 0].tolist() == pytest.approx(expected)


def test_a_video_too_short_for_its_fade():
    with pytest.raises(ValueError) as error:
        run(Loop(8), frames=grey(*[0.5] * 16))
    assert str(error.value) == (
        "The video has 16 frames; a loop that fades over 8 needs at least 17. "
        "Choose a shorter fade, or 0 for ping-pong."
    )
