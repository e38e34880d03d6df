"""Sound as LTX-2's audio VAE reads it: the logarithm of a mel spectrogram.

Source: ComfyUI 0.33.0, comfy/ldm/lightricks/vae/audio_vae.py (settings); Slaney's mel scale as torchaudio 2.11 computes
it (formulas, no code), tests/families/ltx2/test_mel.py compares.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_WINDOW = 1024  # samples of one spectrum
_SMALLEST = 1e-5  # magnitude below which all is silence
# Slaney's scale is linear up to 1000 Hz, 15 mel, and logarithmic above.
_LINEAR, _KNEE, _GROWTH = 200 / 3, 1000.0, math.log(6.4) / 27


def log_mel(waveform: Tensor, rate: int, bins: int, hop: int) -> Tensor:
    """[B, C, samples] -> [B, C, 1 + samples // hop, bins]."""
    frames = 1 + waveform.shape[-1] // hop
    # At its ends a sound is mirrored by half a window, which it must be longer than; silence makes it so.
    waveform = functional.pad(waveform, (0, max(0, _WINDOW // 2 + 1 - waveform.shape[-1])))
    window = torch.hann_window(_WINDOW, device=waveform.device, dtype=waveform.dtype)
    spectrum = torch.stft(
        waveform.flatten(0, 1), _WINDOW, hop, window=window, center=True, pad_mode="reflect", return_complex=True
    ).abs()
    mel = _filters(rate, bins).to(spectrum) @ spectrum[..., :frames]
    return mel.clamp(min=_SMALLEST).log().unflatten(0, waveform.shape[:2]).transpose(2, 3).contiguous()


def _filters(rate: int, bins: int) -> Tensor:
    """[bins, frequencies]: triangles over the mel scale, each of the same area."""
    frequencies = torch.linspace(0, rate // 2, _WINDOW // 2 + 1)
    top = _KNEE / _LINEAR + math.log(rate / 2 / _KNEE) / _GROWTH
    mels = torch.linspace(0, top, bins + 2)
    edges = torch.where(mels < _KNEE / _LINEAR, mels * _LINEAR, _KNEE * torch.exp(_GROWTH * (mels - _KNEE / _LINEAR)))
    rising, falling = edges[:-2, None], edges[2:, None]
    middle = edges[1:-1, None]
    triangles = torch.minimum((frequencies - rising) / (middle - rising), (falling - frequencies) / (falling - middle))
    return triangles.clamp(min=0) * 2 / (falling - rising)
