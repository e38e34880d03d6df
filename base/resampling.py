"""Sound at another rate, by windowed sinc interpolation.

Source: torchaudio 2.11's resample (formulas, no code); tests/base/test_resampling.py compares.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_ZEROS, _ROLLOFF = 6, 0.99  # crossings of the sinc on either side, share of the lower rate's frequencies that is kept


def resampled(waveform: Tensor, rate: int, new_rate: int) -> Tensor:
    """[B, C, samples] at `rate` samples a second -> the same at another rate."""
    if rate == new_rate:
        return waveform
    common = math.gcd(rate, new_rate)
    old, new = rate // common, new_rate // common
    cut = min(old, new) * _ROLLOFF
    width = math.ceil(_ZEROS * old / cut)
    # Times of the samples around each new sample, in periods of the highest frequency that is kept.
    times = torch.arange(-width, width + old, dtype=torch.float64)[None] / old
    times = (times - torch.arange(new, dtype=torch.float64)[:, None] / new) * cut
    times = times.clamp(-_ZEROS, _ZEROS)
    kernel = torch.sinc(times) * torch.cos(times * math.pi / _ZEROS / 2) ** 2 * cut / old
    padded = functional.pad(waveform.flatten(0, 1)[:, None], (width, width + old))
    rows = functional.conv1d(padded, kernel.to(waveform)[:, None], stride=old)  # [B * C, new, periods]
    length = math.ceil(new * waveform.shape[-1] / old)
    return rows.transpose(1, 2).flatten(1)[:, :length].unflatten(0, waveform.shape[:2])
