"""Resampling equals torchaudio's."""

from __future__ import annotations

import pytest
import torch

from opent2v.base.resampling import resampled


@pytest.mark.parametrize("new_rate", [16000, 32000])
@pytest.mark.parametrize("rate", [8000, 22050, 24000, 44100, 48000])
def test_resampling_equals_torchaudios(rate, new_rate):
    torchaudio = pytest.importorskip("torchaudio")
    wave = torch.randn(1, 2, rate // 4, generator=torch.Generator().manual_seed(0))
    expected = torchaudio.functional.resample(wave, rate, new_rate)
    ours = resampled(wave, rate, new_rate)
    assert ours.shape == expected.shape and (ours - expected).abs().max() < 2e-4
