"""Facts of each published LTX-Video checkpoint."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...base import Defaults, Family, FamilyError, Geometry, Prompt, Variant, VideoStream
from ...base.noise_levels import linear_quadratic, shifted, straight
from ...base.stg import Band, Stg

NEGATIVE = "worst quality, inconsistent motion, blurry, jittery, distorted"
SCHEDULER = "FlowMatchEulerDiscreteScheduler"
# 0.9.0 and 0.9.1 shift their noise levels by the number of tokens; later versions have a linear-quadratic schedule.
DYNAMIC = {
    "_class_name": SCHEDULER, "num_train_timesteps": 1000, "shift": 1.0, "use_dynamic_shifting": True,
    "base_shift": 0.95, "max_shift": 2.05, "base_image_seq_len": 1024, "max_image_seq_len": 4096,
    "shift_terminal": 0.1,
}  # fmt: skip
STATIC = {"_class_name": SCHEDULER, "num_train_timesteps": 1000, "shift": 1.0, "use_dynamic_shifting": False}
# The host's own samplers take one shift for all sizes; ComfyUI uses e^2.37 for this family.
HOST_SHIFT = math.exp(2.37)
# From configs/ltxv-13b-0.9.8-distilled.yaml, first_pass.timesteps. The checkpoint was trained for one more level, at
# which that pipeline's second pass ends and which finishes a video without a second pass.
FIRST_PASS = (1.0, 0.9937, 0.9875, 0.9812, 0.9750, 0.9094, 0.7250)
FINISH = 0.4219
# From configs/ltxv-13b-0.9.8-dev.yaml, first_pass. Its rescaling_scale 1 means no rescaling; its cfg_star_rescale is on
# as well.
BANDS = (
    Band(1.0, 1, Stg(0)),
    Band(0.996, 1, Stg(0, (11, 25, 35, 39))),
    Band(0.9933, 6, Stg(4, (22, 35, 39), 0.5)),
    Band(0.9850, 8, Stg(4, (28,), 0.5)),
    Band(0.9767, 6, Stg(4, (28,))),
    Band(0.9008, 1, Stg(2, (28,))),
    Band(0.6180, 1, Stg(1, (28,))),
)


def version_in(name: str) -> str:
    """ "0.9.8" of "ltxv-13b-0.9.8-dev.safetensors", "0.9.0" where a name has 0.9 alone, "" where it has none.

    >>> version_in("LTX_Video_2B_098_distilled"), version_in("ltxv_0_9_6")
    ('0.9.8', '0.9.6')
    """
    match = re.search(r"(?<!\d)0(?:[._]9(?:[._](\d))?|9(\d))(?!\d)", name)
    return f"0.9.{match[1] or match[2] or 0}" if match else ""


def make_variant(
    family: Family,
    *,
    width: int,
    version: str,
    is_distilled: bool,
    scheduler: Mapping[str, Any],
    is_causal: bool,
    context_width: int = 4096,
    geometry: Geometry | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Variant:
    """The variant of a transformer that is `width` wide.

    Args:
        version: "0.9.0" to "0.9.8", or "" where nothing tells.
        scheduler: config with `_class_name`.
        is_causal: whether the first latent frame counts as one frame in the positions, as from 0.9.5 on.
        overrides: the folder's own defaults.
    """
    overrides = overrides or {}
    is_large = width >= 4096
    is_wide = is_large or is_distilled or version >= "0.9.6"  # trained at 1216 x 704, 30 frames per second
    size = (1216, 704, 121, 30.0) if is_wide else (704, 512, 161, 25.0)
    is_stochastic = is_distilled and version == "0.9.6"
    levels = tuple(linear_quadratic(8)) if is_stochastic else FIRST_PASS
    levels = tuple(overrides.get("sigmas", levels if is_distilled else ()))
    name = " ".join(p for p in ("13B" if is_large else "2B", version, "distilled" if is_distilled else "") if p)
    return Variant(
        family=family,
        name=overrides.get("title", name),
        # encode and decode apply the VAE's own statistics, so a LATENT is already normalised.
        streams=(VideoStream(geometry or Geometry(channels=128, temporal=8, spatial=32, patch=1)),),
        defaults=Defaults(
            *size,
            steps=len(levels) or (30 if is_large else 40),
            guidance=1.0 if is_distilled else 3.0,
            negative=NEGATIVE,
        ).with_overrides(overrides),
        scheduler={**scheduler, "shift": HOST_SHIFT, **({"stochastic_sampling": True} if is_stochastic else {})},
        prompts=(Prompt(overrides.get("max_tokens", 256)),),
        keeps_clean=True,
        sigmas=levels,
        latent_format="LTXV",
        context_width=context_width,
        memory_factor=5.5 * width / 2048,  # comfy/supported_models.py, LTXV
        # comfy/sd.py: 900 values per latent pixel and 8 x 8 x 8, 70 per pixel of the video.
        decode_floats=900 * 8 * 8 * 8 / 32**2,
        encode_floats=70,
        whole_clip=True,
        # Tensors of the published decoders piece by piece, counted on the meta device: 955 (0.9.0) to 2608 (0.9.5).
        piece_floats=2610,
        pairs={
            "text_encoders": "t5xxl_fp16.safetensors or t5xxl_fp8_e4m3fn_scaled.safetensors (T5 v1.1 XXL)",
            "vae": "the VAE inside the checkpoint itself, or a file of it alone of the same version",
        },
        facts={"is_causal": is_causal, "is_distilled": is_distilled, "is_large": is_large, "schedule": dict(scheduler)},
    )


def sigmas(variant: Variant, steps: int, shift: float | None, shape: Sequence[int]) -> list[float]:
    """[steps] noise levels, falling, without the final 0.

    Source: Lightricks/LTX-Video @5260738, ltx_video/schedulers/rf.py; diffusers' LTXPipeline and LTXConditionPipeline.

    Raises:
        FamilyError: a distilled checkpoint is asked for other noise levels than its own.
    """
    if variant.sigmas:
        return _distilled(variant, steps, shift)
    config = variant.facts["schedule"]
    is_dynamic = config.get("use_dynamic_shifting", False)
    if shift is None and is_dynamic:
        fewest, most = config["base_image_seq_len"], config["max_image_seq_len"]
        slope = (config["max_shift"] - config["base_shift"]) / (most - fewest)
        shift = math.exp(config["base_shift"] + slope * (math.prod(shape[2:]) - fewest))
    ratio = float(shift or config.get("shift", 1.0))
    levels = linear_quadratic(steps) if variant.facts["is_causal"] and not is_dynamic else straight(steps)
    levels = shifted(levels, ratio)
    end = config.get("shift_terminal")
    if end and steps > 1:
        stretch = (1 - levels[-1]) / (1 - end)
        levels = [1 - (1 - s) / stretch for s in levels]
    return levels


def _distilled(variant: Variant, steps: int, shift: float | None) -> list[float]:
    known = list(variant.sigmas)
    if variant.sigmas == FIRST_PASS and steps == len(known) + 1:
        known.append(FINISH)
    if shift is not None:
        raise FamilyError(
            f"{variant.title} knows its own noise levels only; shift {shift:g} would move them. Set shift to 0."
        )
    if steps != len(known):
        counts = f"{len(known)} or {len(known) + 1}" if variant.sigmas == FIRST_PASS else str(len(known))
        raise FamilyError(
            f"{steps} steps are asked for; {variant.title} knows the noise levels of {counts} steps. Set steps to 0, "
            "and with denoise below 1 to a part of them: 4 steps at denoise 0.5."
        )
    return known
