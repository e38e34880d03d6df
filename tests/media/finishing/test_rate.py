"""Frame rates: how many frames, at which moments, and how good those in between are."""

from fractions import Fraction

import pytest
import torch

from opent2v.media.finishing import FrameRate
from opent2v.media.finishing.motion import between, flow_between
from opent2v.tests.media.finishing.clips import moving, psnr, run


@pytest.mark.parametrize(
    ("frames", "fps", "target", "out"),
    [
        (17, 16, 32, 34),
        (17, 16, 24, 26),
        (16, 24, 12, 8),
        (17, 16, 16, 17),
        (1, 16, 24, 2),
        (9, 24, Fraction(24000, 1001), 9),
    ],
)
def test_the_length_in_seconds_stays(frames, fps, target, out):
    got, rate, _ = run(FrameRate(Fraction(target), "blend"), frames=torch.rand(frames, 4, 4, 3), fps=fps)
    assert (got.shape[0], rate) == (out, Fraction(target))
    assert abs(got.shape[0] / rate - Fraction(frames, fps)) < 1 / rate


def test_frames_stand_at_their_moments():
    ramp = torch.arange(8.0).view(-1, 1, 1, 1).expand(8, 4, 4, 3) / 10
    got, *_ = run(FrameRate(Fraction(24), "blend"), frames=ramp, fps=16)
    expected = (torch.arange(12) * 2 / 3).clamp(max=7) / 10  # the last frame is held
    assert torch.allclose(got[:, 0, 0, 0], expected, atol=1e-6)


def test_frames_that_are_there_are_not_changed():
    clip = moving(5, 32)
    got, *_ = run(FrameRate(Fraction(32)), frames=clip)
    assert torch.equal(got[::2], clip) and torch.equal(got[-1], clip[-1])


@pytest.mark.parametrize("textured", [True, False])
@pytest.mark.parametrize(("size", "gain"), [(64, 5), (160, 4)])
def test_along_the_motion_is_better_than_blending(textured, size, gain):
    clip = moving(17, size, textured)
    truth, coarse = clip[1::2], clip[::2]
    along, *_ = run(FrameRate(Fraction(16)), frames=coarse, fps=8)
    blended, *_ = run(FrameRate(Fraction(16), "blend"), frames=coarse, fps=8)
    assert psnr(along[1:-1:2], truth) > psnr(blended[1:-1:2], truth) + gain


def test_flow_is_in_pixels_and_points_where_things_go():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    wave = lambda dx, dy: (torch.sin((x - dx) / 5) * torch.cos((y - dy) / 6) * 0.4 + 0.5).expand(1, 3, 64, 96)  # noqa: E731
    for time in (0.25, 0.5):
        flow = flow_between(wave(0, 0), wave(3, -2), time)
        inner = flow[0, :, 12:-12, 12:-12]
        assert (inner[0].median() - 3).abs() < 0.2 and (inner[1].median() + 2).abs() < 0.2
    middle = between(wave(0, 0), wave(4, 0), 0.25)[0, :, 12:-12, 12:-12]
    assert psnr(middle, wave(1, 0)[0, :, 12:-12, 12:-12]) > 35


@pytest.mark.parametrize("shape", [(7, 5), (16, 300), (900, 17)])
def test_odd_shapes(shape):
    one, two = torch.rand(1, 3, *shape), torch.rand(1, 3, *shape)
    got = between(one, two, 0.5)
    assert got.shape == one.shape and torch.isfinite(got).all()
    assert torch.allclose(between(one, one, 0.5), one, atol=1e-3)
