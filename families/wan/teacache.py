"""The official TeaCache sets of Wan 2.1; Wan 2.2 has none.

There are two for each model: for the blocks' own modulation ("ret" in the source), which are these, and for the
timestep before it is projected, which no block gets to see.
"""

from __future__ import annotations

from ...base import TeaCache, Variant
from ...base.teacache import timestep

_T2V_SMALL = (-5.21862437e04, 9.23041404e03, -5.28275948e02, 1.36987616e01, -4.99875664e-02)
_T2V = (-3.03318725e05, 4.90537029e04, -2.65530556e03, 5.87365115e01, -3.15583525e-01)
_I2V_480P = (2.57151496e05, -3.54229917e04, 1.40286849e03, -1.35890334e01, 1.32517977e-01)
_I2V_720P = (8.10705460e03, 2.13393892e03, -3.72934672e02, 1.66203073e01, -4.17769401e-02)


def teacache(variant: Variant) -> TeaCache | None:
    large = variant.defaults.width >= 1280
    return {
        "2.1 T2V 1.3B": TeaCache(_T2V_SMALL, 0.0044, 0.1019, timestep),
        "2.1 T2V 14B": TeaCache(_T2V, 0.0077, 0.0816, timestep),
        "2.1 I2V 14B": TeaCache(_I2V_720P, 0.0027, 0.5, timestep) if large else TeaCache(_I2V_480P, 0.0, 0.5, timestep),
    }.get(variant.name)
