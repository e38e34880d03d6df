"""Oscillating guidance: the scales of prompt and picture guidance, step by step.

Source: hpcaitech/Open-Sora @7ad6a96, I2VDenoiser in opensora/utils/sampling.py (facts; no code).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...base import Entry, Variant
from .pictures import known_frames

OSCILLATING = "oscillating"
# The first steps have full guidance; after them, every second step has.
FULL = 10
# Up to two conditioning frames are still images (start and end); more mean that a video is being extended.
PICTURES = 2


def cfg(variant: Variant, mode: str, scale: float, timesteps: Tensor) -> list[float]:
    """cfg of each step: `scale`, and from the eleventh step on 1 in every second one."""
    return _oscillating(scale, len(timesteps))


def picture_guidance(
    variant: Variant, mode: str, scale: float, entry: Entry, steps: int, latent_frames: int
) -> Tensor | None:
    """[steps, latent frames]: the scale of picture guidance; None where the conditioning has no picture.

    For pictures, but not for videos, the scale rises from 1 at the first latent frame to the step's scale at the last;
    that one falls to 1 over the steps.
    """
    known = known_frames(entry, latent_frames)
    if not bool(known.any()):
        return None
    if mode != OSCILLATING:
        return torch.full((steps, latent_frames), scale)
    levels = _oscillating(scale, steps)
    if known.sum() > PICTURES:
        return torch.tensor(levels).unsqueeze(1).expand(-1, latent_frames)
    rows = []
    for step, level in enumerate(levels):
        last = torch.linspace(level, 1.0, steps + 1)[step].item()
        rows.append(torch.linspace(1.0, last, latent_frames) if level > 1 else torch.full((latent_frames,), level))
    return torch.stack(rows)


def _oscillating(scale: float, steps: int) -> list[float]:
    return [scale if step < FULL or step % 2 == 0 else 1.0 for step in range(steps)]
