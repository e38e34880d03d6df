"""Joints, drift and loops of videos whose measures a person can work out."""

from __future__ import annotations

import math

import pytest
import torch

from opent2v.media.compare import ComparisonError
from opent2v.media.continuity import described, drift, joints, loop_loss


def moving(frames=24, step=1.0, side=32):
    """A soft bright spot that moves to the right, so many pixels a frame."""
    x, y = torch.arange(side).float(), torch.arange(side).float()
    spots = [
        torch.exp(-((x - 6 - step * n) ** 2) / 18)[None] * torch.exp(-((y - 16) ** 2) / 18)[:, None]
        for n in range(frames)
    ]
    return torch.stack(spots)[..., None].expand(-1, -1, -1, 3) * 0.8 + 0.1


def test_no_joint_is_seen_where_the_motion_goes_on():
    (joint,) = joints(moving(), [12])
    assert abs(joint.loss) < 0.5 and joint.ssim == pytest.approx(joint.ssim_inside, abs=0.01)
    assert joint.flow_jump < 0.2


def test_a_cut_is_seen_in_light_and_a_turn_in_the_flow():
    frames = moving()
    cut = torch.cat([frames[:12], frames[12:] * 0.5])
    (joint,) = joints(cut, [12])
    assert joint.loss > 3 and joint.psnr < joint.psnr_inside
    turned = torch.cat([frames[:12], frames[:12].flip(0)[1:]])  # back the way it came, without a jump
    (turn,) = joints(turned, [12])
    assert abs(turn.loss) < 0.5 and turn.flow_jump > 4 * max(turn.flow_inside, 0.01)


def test_psnr_of_one_grey_step():
    frames = torch.cat([torch.full((4, 16, 16, 3), 0.5), torch.full((4, 16, 16, 3), 0.6)])
    (joint,) = joints(frames, [4])
    assert joint.psnr == pytest.approx(20, abs=0.01)  # -20 log10(0.1)
    assert joint.psnr_inside == pytest.approx(60)  # equal frames count as 60 dB


def test_a_click_is_the_largest_step_of_the_waveform():
    wave = torch.sin(torch.arange(16000) * 2 * math.pi * 100 / 16000)[None]
    clicked = wave.clone()
    clicked[:, 8000:] += 0.8
    frames = moving(16)
    (quiet,) = joints(frames, [8], 16.0, (wave, 16000))
    (click,) = joints(frames, [8], 16.0, (clicked, 16000))
    assert click.wave_jump == pytest.approx(1.0)
    assert quiet.wave_jump is not None and quiet.wave_jump <= 1.0
    assert joints(frames, [8])[0].wave_jump is None


def test_drift_is_the_slope_a_second():
    rising = torch.linspace(0.2, 0.2 + 10 / 255, 33).view(-1, 1, 1, 1).expand(-1, 8, 8, 3)
    assert drift(rising, 16.0).colour == pytest.approx(5.0, rel=1e-3)  # 10/255 in 2 seconds
    still = moving(1).expand(20, -1, -1, -1)
    calm = drift(still, 10.0)
    assert (calm.colour, calm.contrast, calm.sharpness) == pytest.approx((0, 0, 0), abs=1e-6)
    fading = torch.stack([0.5 + (still[0] - 0.5) * (1 - n / 40) for n in range(20)])
    lost = drift(fading, 10.0)
    assert lost.contrast < -0.2 and lost.sharpness < -0.2


def test_a_loop_closes_and_a_line_does_not():
    turn = [moving(9)[n] for n in (*range(8), *range(8, 0, -1))]
    assert loop_loss(torch.stack(turn)) == pytest.approx(0, abs=1.0)
    assert loop_loss(moving(16)) > 6


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: joints(moving(4), [0]), "A joint is at frame 0; the video has frames 1 to 3 to be joined at"),
        (lambda: joints(moving(4), [1, 2, 3]), "There is a joint at every frame around 1"),
        (lambda: drift(moving(2), 16.0), "The video has 2 frames; drift needs at least 3"),
        (lambda: loop_loss(moving(2)), "The video has 2 frames; a loop needs at least 3"),
    ],
)
def test_what_cannot_be_measured_is_said(measure, message):
    with pytest.raises(ComparisonError, match=message):
        measure()


def test_lines_for_the_user():
    frames = moving()
    lines = described(joints(frames, [12]), drift(frames, 16.0), loop_loss(frames))
    assert lines[0].startswith("joint at frame 12: ") and "dB across" in lines[0]
    assert lines[1].startswith("drift a second: colour ") and lines[2].startswith("end to start: ")
