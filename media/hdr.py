"""HDR pictures for an SDR screen: the light that was coded, toned down, in BT.709."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

PQ, HLG = 16, 18  # ITU-T H.273 transfer characteristics
# Brightness of white on an SDR screen beside HDR (ITU-R BT.2408), and the brightest light that programmes are graded
# for, in cd/m2.
_WHITE, _PEAK = 203.0, 1000.0
# SMPTE ST 2084.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
# ARIB STD-B67, and the luminance of BT.2020.
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
_LUMINANCE = (0.2627, 0.6780, 0.0593)
# ITU-R BT.2087: linear BT.2020 to linear BT.709.
_TO_BT709 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))


def tone_mapped(pixels: Tensor, transfer: int) -> Tensor:
    """BT.2020 R'G'B' as it is coded [..., 3] in 0..1 -> what an SDR screen shows in its place, BT.709 in 0..1.

    Light up to about half of white stays as it is; what is brighter is rolled off (ITU-R BT.2390, section 5.4.1).

    Args:
        transfer: PQ or HLG.
    """
    light = _pq_light(pixels) if transfer == PQ else _hlg_light(pixels)
    brightest = light.amax(-1, keepdim=True).clamp_min(1e-6)
    light = light * (_rolled_off(brightest) / brightest) / _WHITE
    linear = light @ torch.tensor(_TO_BT709).T
    return linear.clamp(0, 1) ** (1 / 2.4)


def _pq_light(coded: Tensor) -> Tensor:
    root = coded.clamp(0, 1) ** (1 / _M2)
    return 10_000 * ((root - _C1).clamp_min(0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _pq_coded(light: Tensor) -> Tensor:
    power = (light / 10_000).clamp_min(0) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _hlg_light(coded: Tensor) -> Tensor:
    coded = coded.clamp(0, 1)
    scene = torch.where(coded <= 0.5, coded**2 / 3, (torch.exp((coded - _C) / _A) + _B) / 12)
    luminance = (scene * torch.tensor(_LUMINANCE)).sum(-1, keepdim=True).clamp_min(1e-6)
    return _PEAK * luminance**0.2 * scene


@cache
def _ends() -> tuple[float, float]:
    """The brightest light of the source, coded by PQ, and white as a share of it."""
    peak, white = _pq_coded(torch.tensor([_PEAK, _WHITE])).tolist()
    return peak, white / peak


def _rolled_off(light: Tensor) -> Tensor:
    """Light in cd/m2, up to `_PEAK` -> up to `_WHITE`."""
    peak, top = _ends()
    knee = 1.5 * top - 0.5
    e = (_pq_coded(light) / peak).clamp(0, 1)
    t = ((e - knee) / (1 - knee)).clamp(0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * top
    return _pq_light(torch.where(e < knee, e, spline) * peak)
