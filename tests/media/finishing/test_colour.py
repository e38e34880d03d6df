"""Colours: Lab numbers, matching, drift."""

import torch

from opent2v.media.finishing import ColourMatch
from opent2v.media.finishing.colour import lab_to_rgb, rgb_to_lab, statistics
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
    for got, wanted in zip(
        statistics(rgb_to_lab(matched)), statistics(rgb_to_lab(reference[:1, ..., :3])), strict=True
    ):
        assert (got - wanted).abs().max() < 6  # clipping to 0..1 moves them a little


def test_a_flat_frame_stays_flat():
    matched, *_ = run(ColourMatch(), frames=torch.cat([moving(3, 32), torch.full((1, 32, 32, 3), 0.5)]))
    assert torch.isfinite(matched).all() and matched[-1].flatten(0, 1).std(0).max() < 1e-3
