"""Runs of checkpoints and LoRAs that were distilled to few steps: their noise levels, and what the user should know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..base import Variant
from ..base.remarks import look

if TYPE_CHECKING:
    from .run import SamplerRequest


def _whole(request: SamplerRequest, steps: int) -> int:
    """Steps of the whole schedule, of which a run with denoise below 1 walks the last part."""
    return max(steps, round(steps / request.denoise)) if request.denoise > 0 else steps


def within_range(variant: Variant, request: SamplerRequest) -> Variant:
    """The variant without its few noise levels where the user asks for other counts of steps than its makers name."""
    few, steps = variant.few_steps, _whole(request, request.steps)
    if few is None or not steps:
        return variant
    low, high = few.step_range
    if low <= steps <= high:
        return variant
    return replace(variant, sigmas=())


def levels(variant: Variant, steps: int, shift: float | None, shape: tuple[int, ...]) -> Sequence[float] | None:
    """As `Sampling.sigmas`, with what is known of few steps before the family's own."""
    few = variant.few_steps
    known = few.levels(steps, shift) if few is not None and variant.prediction == "flow" else None
    return known or variant.family.sampling.sigmas(variant, steps, shift, shape)


def _cfg(variant: Variant, value: float) -> str:
    return f"guidance {value:g}" if variant.embeds_guidance else f"cfg {value:g}"


def remarks(variant: Variant, request: SamplerRequest) -> list[str]:
    """Which of a run's values are those of few steps, and which of the user's do not fit them."""
    few = variant.few_steps
    if few is None:
        return []
    taken = [] if request.steps else [f"{few.steps} steps"]
    taken += [] if request.cfg else [_cfg(variant, few.cfg)]
    if few.shift and not request.shift:
        taken.append(f"shift {' / '.join(f'{shift:g}' for shift in few.shift)}")
    elif few.sigmas and not request.shift and request.steps in (0, len(few.sigmas)):
        taken.append("its noise levels")
    lines = [f"{', '.join(taken)}: taken from {few.title}"] if taken else []
    steps, cfg = request.steps or few.steps, request.cfg or few.cfg
    whole, (low, high) = _whole(request, steps), few.step_range
    is_more, is_less = whole > high, whole < low
    is_guided = cfg > few.cfg + 0.5 and not variant.embeds_guidance
    if is_guided or ((is_more or is_less) and not few.is_guess):
        guided, title, made_for = _cfg(variant, cfg), few.title, few.range_text
        lines.append(
            look(f"{title} was made for {made_for}; {steps} steps at {guided} leave noise.")
            if is_less and not is_guided
            else look(f"{title} was made for {made_for}; {steps} steps at {guided} burn.")
        )
    if request.shift and few.shift and not math.isclose(request.shift, few.shift[0]):
        lines.append(
            look(f"{few.title} was made with shift {few.shift[0]:g}; shift {request.shift:g} blurs or leaves noise.")
        )
    return lines
