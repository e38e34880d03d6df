"""The latent upscalers of LTX-Video and LTX-2, one network: twice as large in space or in time, or by a ratio in space.

The network works on the VAE's own numbers, not on normalised ones. Source: diffusers 0.42.1,
pipelines/ltx2/latent_upsampler.py; ComfyUI 0.33.0, comfy/ldm/lightricks/latent_upsampler.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from ...base import Shapes
from ...base.recognise import layers
from ...base.upscaler import UpscalerLayout

_RATIONAL = {2: 2.0, 3: 1.5, 4: 4.0}  # rows of the pixel shuffle's side -> the ratio that is published with it


def recognise(shapes: Shapes, config: Mapping[str, Any]) -> UpscalerLayout | None:
    """No shape tells 3/2 from 3/4: the file's own config does, and 3/2 is what is published."""
    first, blocks = shapes.get("initial_conv.weight"), layers(shapes, "post_upsample_res_blocks")
    inner, rational = shapes.get("upsampler.0.weight"), shapes.get("upsampler.conv.weight")
    shuffled = inner or rational
    if first is None or shuffled is None or not blocks:
        return None
    width, channels, *kernel = first
    times = shuffled[0] // width
    is_temporal = rational is None and len(shuffled) == 5
    ratio = 2.0
    if rational is not None:
        ratio = float(config.get("spatial_scale", _RATIONAL[isqrt(times)]))
    is_spatial = not is_temporal or times == 8
    described = ([f"{ratio:g}x in space"] if is_spatial else []) + (["2x in time"] if is_temporal else [])
    return UpscalerLayout(
        f"LTX latent upscaler, {' and '.join(described)}",
        "pipelines.ltx2.latent_upsampler.LTX2LatentUpsamplerModel",
        {
            "in_channels": channels,
            "mid_channels": width,
            "num_blocks_per_stage": blocks,
            "dims": len(kernel),
            "spatial_upsample": is_spatial,
            "temporal_upsample": is_temporal,
            "rational_spatial_scale": ratio,
            "use_rational_resampler": rational is not None,
        },
        channels,
        ratio if is_spatial else 1.0,
        2 if is_temporal else 1,
    )
