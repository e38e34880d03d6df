"""How like a clip is to a reference, where a person can do the sum."""

from __future__ import annotations

import math

import pytest
import torch

from opent2v.media.compare import ComparisonError, compare, ssim, table


def clip(*levels: float, size: int = 16) -> torch.Tensor:
    """[F, 3, size, size]: one grey for each frame."""
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, size, size).clone()


def noisy(seed: int = 0, frames: int = 5) -> torch.Tensor:
    return torch.rand(frames, 3, 24, 24, generator=torch.Generator().manual_seed(seed))


def test_the_same_clip_is_identical():
    found = compare(noisy(), noisy())
    assert math.isinf(found.psnr) and found.ssim == pytest.approx(1.0, abs=1e-5) and found.motion == 1.0
    assert found.rhythm == pytest.approx(1.0) and found.verdict == "nearly identical"


@pytest.mark.parametrize(
    ("off", "psnr", "verdict"),
    [
        (0.01, 40.0, "nearly identical"),
        (0.05, 26.02, "same content, fine detail differs"),
        (0.08, 21.94, "visible drift"),
        (0.2, 13.98, "a different video"),
    ],
)
def test_psnr_of_an_even_error_and_its_band(off, psnr, verdict):
    # 10 log10(1 / off^2)
    found = compare(clip(0.5 + off, 0.5 + off), clip(0.5, 0.5))
    assert found.psnr == pytest.approx(psnr, abs=0.01) and found.verdict == verdict


def test_ssim_of_two_greys_is_the_formula():
    # No variance: (2 ab + c1) / (a^2 + b^2 + c1), c1 = 0.01^2
    found = ssim(clip(0.4), clip(0.6))
    assert found.tolist() == pytest.approx([(2 * 0.24 + 1e-4) / (0.16 + 0.36 + 1e-4)], abs=1e-4)


def test_the_worst_frame_is_named():
    reference = noisy()
    cached = reference.clone()
    cached[3] = noisy(1)[3]
    found = compare(cached, reference)
    assert found.worst_frame == 3 and found.worst < 0.5 and found.ssim > 0.7
    assert table({"a": found})[1][3].endswith("(4)")


def test_half_the_motion_and_a_standing_reference():
    reference = clip(0.1, 0.2, 0.5, 0.6, 0.8)
    slower = 0.1 + (reference - 0.1) / 2
    found = compare(slower, reference)
    assert found.motion == pytest.approx(0.5, abs=1e-5) and found.rhythm == pytest.approx(1.0, abs=1e-4)
    standing = compare(clip(0.2, 0.2), clip(0.5, 0.5))
    assert standing.motion is None and standing.rhythm is None


def test_latents_get_no_verdict_of_pixels():
    reference = torch.randn(3, 16, 4, 4, generator=torch.Generator().manual_seed(0)) * 5
    found = compare(reference + 0.1, reference, is_pixels=False)
    span = (reference.max() - reference.min()).item()
    assert found.psnr == pytest.approx(20 * math.log10(span / 0.1), abs=0.01)
    assert found.verdict == "latents: decode both for a verdict"


def test_what_cannot_be_compared():
    with pytest.raises(
        ComparisonError, match="The clip is 2 frames of 16 x 16 with 3 channels, the reference 3 frames of"
    ):
        compare(clip(0.1, 0.2), clip(0.1, 0.2, 0.3))
    with pytest.raises(ComparisonError, match="The cached run has values that are not finite, so there is nothing"):
        compare(clip(math.nan), clip(0.1), name="cached run")
