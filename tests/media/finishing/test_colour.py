"""Colours: Lab numbers, matching, drift."""

import torch

from opent2v.media.finishing import ColourMatch
from opent2v.media.finishing.colour import Moments, lab_to_rgb, rgb_to_lab
from opent2v.tests.media.finishing.clips import moving, psnr, run

# Published Lab values (D65, 2 degrees) of sRGB's corners.
KNOWN = {
    (1.0, 1.0, 1.0): (100.0, 0.0, 0.0),
    (0.0, 0.0, 0.0): (0.0, 0.0, 0.0),
    (1.0, 0.0, 0.0): (53.24, 80.09, 67.20),
    (0.0, 1.0, 0.0): (87.73, -86.18, 83.18),
    (0.0, 0.0, 1.0): (32.30, 79.19, -107.86),
}


def test_lab_values_are_the_published_ones():
    for rgb, lab in KNOWN.items():
        assert torch.allclose(rgb_to_lab(torch.tensor(rgb)), torch.tensor(lab), atol=0.02), rgb


def test_there_and_back():
    frames = torch.rand(2, 16, 16, 3)
    assert (lab_to_rgb(rgb_to_lab(frames)) - frames).abs().max() < 1e-4


def test_drift_is_taken_out():
    clip = moving(9, 48)
    tint = torch.tensor([1.0, 0.9, 0.8])
    drifting = (clip * tint ** torch.linspace(0, 1.5, 9).view(-1, 1, 1, 1)).clamp(0, 1)
    matched, *_ = run(ColourMatch(), frames=drifting)
    half, *_ = run(ColourMatch(0.5), frames=drifting)
    off, *_ = run(ColourMatch(0.0), frames=drifting)
    assert psnr(drifting[-1], clip[-1]) < 23 and psnr(matched[-1], clip[-1]) > 31
    assert torch.equal(off, drifting)
    assert psnr(drifting[-1], clip[-1]) < psnr(half[-1], clip[-1]) < psnr(matched[-1], clip[-1])


def test_a_reference_picture_gives_the_colours():
    reference = torch.rand(2, 8, 8, 4) * 0.4 + 0.3
    matched, *_ = run(ColourMatch(1.0, reference), frames=moving(3, 32) * 0.5 + 0.2)
    goal = rgb_to_lab(reference[:1, ..., :3]).flatten(0, 2)
    for lab in rgb_to_lab(matched).flatten(1, 2):
        assert (lab.mean(0) - goal.mean(0)).abs().max() < 6  # clipping to 0..1 moves them a little
        assert (lab.std(0) - goal.std(0)).abs().max() < 6


def test_moments_are_those_of_the_lab_picture():
    frames = torch.rand(2, 24, 40, 3, generator=torch.Generator().manual_seed(1))
    lab = rgb_to_lab(frames).flatten(1, 2).double()
    moments = Moments.of_all(frames)
    assert (moments.mean.flatten() - lab.mean((0, 1))).abs().max() < 1e-3
    assert (moments.std.flatten() - lab.std(1, correction=0).mean(0)).abs().max() < 1e-3


def test_matching_is_reinhards_in_lab():
    """Written out, as the paper has it."""
    frames = torch.rand(2, 24, 40, 3, generator=torch.Generator().manual_seed(2)) * 0.6 + 0.2
    reference = torch.rand(1, 9, 9, 3, generator=torch.Generator().manual_seed(3)) * 0.5 + 0.3
    matched, *_ = run(ColourMatch(0.7, reference), frames=frames.clone())
    goal, lab = (rgb_to_lab(pictures).double() for pictures in (reference, frames))
    mean, std = lab.mean((1, 2), keepdim=True), lab.std((1, 2), keepdim=True, correction=0)
    exact = (lab - mean) / std * goal.std((1, 2), keepdim=True, correction=0) + goal.mean((1, 2), keepdim=True)
    assert (matched - (0.3 * frames + 0.7 * lab_to_rgb(exact.float()))).abs().max() < 1e-4


def test_a_flat_frame_stays_flat():
    matched, *_ = run(ColourMatch(), frames=torch.cat([moving(3, 32), torch.full((1, 32, 32, 3), 0.5)]))
    assert torch.isfinite(matched).all() and matched[-1].flatten(0, 1).std(0).max() < 1e-3
