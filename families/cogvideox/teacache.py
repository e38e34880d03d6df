"""The official TeaCache sets of CogVideoX."""

from __future__ import annotations

from ...base import TeaCache, Variant
from ...base.teacache import timestep

_5B = TeaCache(
    (-1.53880483e03, 8.43202495e02, -1.34363087e02, 7.97131516e00, -5.23162339e-02), 0.0075, 0.3299, timestep
)
_SETS = {
    "2B": TeaCache(
        (-3.10658903e01, 2.54732368e01, -5.92380459e00, 1.75769064e00, -3.61568434e-03), 0.0021, 0.5, timestep
    ),
    "5B": _5B,
    "5B I2V": _5B,
    "1.5 5B": TeaCache(
        (2.50210439e02, -1.65061612e02, 3.57804877e01, -7.81551492e-01, 3.58559703e-02), 0.0, 0.5, timestep
    ),
    "1.5 5B I2V": TeaCache(
        (1.22842302e02, -1.04088754e02, 2.62981677e01, -3.06009921e-01, 3.71213220e-02), 0.0, 0.5, timestep
    ),
}


def teacache(variant: Variant) -> TeaCache | None:
    return _SETS.get(variant.name)
