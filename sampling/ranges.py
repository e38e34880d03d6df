"""Prompts that count for a part of the noise levels, as ComfyUI's ConditioningSetTimestepRange says it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch

from ..base import Variant
from ..base.guidance import Conditioning
from .errors import SamplingError
from .prediction import Discrete, prediction
from .schedule import own_shift
from .travel import Place, mixed, mixture

# Entries of a CONDITIONING's dictionary, which ComfyUI reads: shares of the model's noise levels, from 0 to 1.
START, END = "start_percent", "end_percent"
# Mixtures between two prompts.
_PIECES = 8
# Ends of ranges lie beside round shares, on which a step would belong to two of them.
_BESIDE = 1e-4


def check_shares(stops: Sequence[tuple[Place, str]]) -> None:
    """
    Raises:
        SamplingError: prompts that travel by steps are counted in seconds or frames.
    """
    if any(not place.is_share for place, _ in stops):
        raise SamplingError(
            "The prompt travels by steps and counts in seconds or frames. Write its moments in per cent of the run: "
            "0 %: ... / 50 %: ..., or set travel_over to time."
        )


def by_steps(stops: Sequence[tuple[float, Conditioning]]) -> Conditioning:
    """One CONDITIONING whose prompts follow each other over the run, mixed between two moments.

    Args:
        stops: (share of the noise levels at which the prompt is reached, its CONDITIONING of one entry), rising. The
            first counts from the start, the last to the end.
    Returns:
        Entries of which one counts at each noise level. Prompts of other shapes are not mixed: the nearer one counts.
    """
    shares = [share for share, _ in stops]
    prompts = [{**values, "cross_attn": context} for _, conditioning in stops for context, values in conditioning]
    ends = [shares[0]]
    for first, last in pairwise(shares):
        ends += [first + (last - first) * (n + 1) / _PIECES for n in range(_PIECES)]
    pieces: list[tuple[float, dict[str, Any]]] = [(ends[0], prompts[0])]
    for begin, end in pairwise(ends):
        before, behind, share = mixture(shares, (begin + end) / 2)
        pieces.append((end, mixed(prompts[before], prompts[behind], share)))
    pieces.append((1.0, prompts[-1]))
    result, begin = [], 0.0
    for end, entry in pieces:
        stop = 1.0 if end >= 1 else max(end - _BESIDE, 0.0)
        if stop > begin:
            values = {name: value for name, value in entry.items() if name != "cross_attn"}
            result.append([entry["cross_attn"], {**values, START: begin, END: stop}])
            begin = stop
    return result


def sigma_at(variant: Variant, share: float) -> float:
    """The noise level at a share of the model's schedule, as ComfyUI's `percent_to_sigma`."""
    if share <= 0:
        return math.inf
    if share >= 1:
        return 0.0
    predicts, left = prediction(variant.prediction, variant.scheduler), 1 - share
    if not isinstance(predicts, Discrete):
        shift = own_shift(variant.scheduler)
        return shift * left / (1 + (shift - 1) * left)
    table = predicts.sigmas.log()
    place = left * (len(table) - 1)
    low = int(place)
    high = min(low + 1, len(table) - 1)
    return torch.lerp(table[low], table[high], place - low).exp().item()


def number_at(prompts: Sequence[Mapping[str, Any]], variant: Variant, sigma: float) -> int:
    """Which of the prompts counts at a noise level: the first whose range holds it.

    Raises:
        SamplingError: none does.
    """
    for number, entry in enumerate(prompts):
        if sigma_at(variant, entry.get(END, 1.0)) <= sigma <= sigma_at(variant, entry.get(START, 0.0)):
            return number
    raise SamplingError(
        f"No prompt counts at noise level {sigma:.3f}: their ranges leave it out. Let them begin at 0 and end at 1."
    )
