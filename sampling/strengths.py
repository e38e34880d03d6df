"""A run whose LoRAs change their strength: the steps of each model in pieces of one strength."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ..base.strengths import Strengths
from .errors import SamplingError
from .run import ExpertSteps


def pieces(part: ExpertSteps, strengths: Sequence[Strengths]) -> list[tuple[ExpertSteps, tuple[float, ...]]]:
    """(steps, factor of each LoRA's strength in them), in the order in which they are made.

    Args:
        strengths: of the LoRAs on the model; their shares are of this model's own steps.
    """
    count = len(part.steps)
    factors = [tuple(lora.at(step, count) for lora in strengths) for step in range(count)]
    divided, start = [], 0
    for values, group in groupby(factors):
        stop = start + len(list(group))
        schedule = part.schedule.part(start, stop)
        divided.append((ExpertSteps(part.expert, schedule, part.steps[start:stop], part.before + start), values))
        start = stop
    return divided


def refuse_cache(strengths: Sequence[Strengths], has_cache: bool) -> None:
    """
    Raises:
        SamplingError: a step cache would reuse what the model has made with another strength.
    """
    if strengths and has_cache:
        raise SamplingError(
            f"A LoRA's strength changes during the run ({strengths[0].text}), and a step cache would reuse what the "
            "model made with the strength before. Take the step cache out, or leave strength_over_steps empty."
        )
