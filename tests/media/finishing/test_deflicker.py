"""Deflickering: flicker goes, motion and fades stay."""

import torch

from opent2v.media.finishing import Deflicker
from opent2v.tests.media.finishing.clips import moving, psnr, run


def brightness(frames):
    return frames[:, :8].mean(dim=(1, 2, 3)).log()


def test_flicker_goes_and_the_picture_stays():
    clip = moving(25, 48)
    gain = 1 + 0.15 * torch.randn(25).clamp(-2, 2)
    flickering = (clip * gain.view(-1, 1, 1, 1)).clamp(0, 1)
    calm, *_ = run(Deflicker(), frames=flickering)
    half, *_ = run(Deflicker(strength=0.5), frames=flickering)
    jumps = [brightness(frames).diff().std() for frames in (flickering, half, calm)]
    assert jumps[2] < 0.25 * jumps[0] and jumps[2] < jumps[1] < jumps[0]
    assert psnr(calm, clip * brightness(calm).exp().mean() / brightness(clip).exp().mean()) > psnr(flickering, clip) + 3


def test_something_bright_passing_by_is_no_flicker():
    clip = moving(15, 48)
    clip[7:, 14:34, 14:34] = 0.9
    calm, *_ = run(Deflicker(), frames=clip)
    assert (calm - clip).abs().max() < 0.01


def test_a_slow_fade_stays():
    clip = moving(25, 32) * torch.linspace(0.4, 1, 25).view(-1, 1, 1, 1)
    calm, *_ = run(Deflicker(5), frames=clip)
    assert (brightness(calm) - brightness(clip))[3:-3].abs().max() < 0.02


def test_black_frames_are_left_alone():
    clip = torch.cat([torch.zeros(4, 16, 16, 3), moving(4, 16)])
    calm, *_ = run(Deflicker(), frames=clip)
    assert torch.isfinite(calm).all() and (calm - clip).abs().max() < 0.01
