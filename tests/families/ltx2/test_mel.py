"""Mel spectrograms equal torchaudio's. Tests: families/ltx2/mel.py"""

from __future__ import annotations

import math

import pytest
import torch

from opent2v.base.resampling import resampled
from opent2v.families.ltx2.mel import log_mel


def test_the_spectrogram_equals_torchaudios():
    torchaudio = pytest.importorskip("torchaudio")
    wave = 0.3 * torch.randn(1, 2, 8000, generator=torch.Generator().manual_seed(0))
    transform = torchaudio.transforms.MelSpectrogram(
        sample_rate=16000, n_fft=1024, win_length=1024, hop_length=160, f_min=0.0, f_max=8000.0, n_mels=64,
        center=True, pad_mode="reflect", power=1.0, mel_scale="slaney", norm="slaney",
    )  # fmt: skip
    expected = transform(wave).clamp(min=1e-5).log().transpose(2, 3)
    ours = log_mel(wave, 16000, 64, 160)
    assert ours.shape == (1, 2, 51, 64) and (ours - expected).abs().max() < 1e-5


def test_a_tone_lies_in_its_bin_at_every_rate():
    """A tone of 1000 Hz is loudest in the same bin whatever rate it comes in."""
    loudest = []
    for rate in (16000, 44100, 48000):
        times = torch.arange(rate // 2) / rate
        wave = torch.sin(2 * math.pi * 1000 * times).expand(1, 2, -1)
        loudest.append(int(log_mel(resampled(wave, rate, 16000), 16000, 64, 160)[0, 0, 10:-10].mean(0).argmax()))
    assert len(set(loudest)) == 1 and 15 < loudest[0] < 30
