"""Prompts that travel over the steps: their ranges, their mixtures, and which counts at a noise level."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from opent2v.host import embedded
from opent2v.sampling import SamplingError
from opent2v.sampling.ranges import END, START, by_steps, number_at, sigma_at
from opent2v.tests.tiny import wan as tiny


@pytest.fixture
def flow():
    return embedded.variant(tiny.shared()[0])


def prompt(level, tokens=2):
    return [[torch.full((1, tokens, 3), float(level)), {"note": level}]]


def spans(conditioning):
    return [(entry[START], entry[END]) for _, entry in conditioning]


def test_prompts_of_one_shape_are_mixed_between_their_moments():
    travelling = by_steps([(0.2, prompt(0)), (0.6, prompt(1)), (0.7, prompt(3))])
    ranges = spans(travelling)
    assert ranges[0][0] == 0 and ranges[-1][1] == 1
    assert all(end == begin for (_, end), (begin, _) in pairwise(ranges)), "no gap, no overlap"
    at = {round((begin + end) / 2, 3): context.mean().item() for (begin, end), (context, _) in
          zip(ranges, travelling, strict=True)}  # fmt: skip
    assert at[0.1] == 0 and at[0.85] == 3
    for middle, level in at.items():
        if 0.2 < middle < 0.6:
            assert level == pytest.approx((middle - 0.2) / 0.4, abs=1e-3)


def test_prompts_of_other_shapes_change_half_way():
    travelling = by_steps([(0.0, prompt(0)), (0.5, prompt(1, tokens=4))])
    changes = [begin for (begin, _), (context, _) in zip(spans(travelling), travelling, strict=True) if
               context.shape[1] == 4]  # fmt: skip
    assert changes[0] == pytest.approx(0.25, abs=1e-3)


def test_the_first_counts_from_the_start_and_the_last_to_the_end():
    travelling = by_steps([(0.5, prompt(0)), (1.0, prompt(1, tokens=4))])
    assert spans(travelling)[0][0] == 0 and spans(travelling)[-1][1] == 1


def test_shares_of_a_flow_schedule(flow):
    shifted = replace(flow, scheduler={**flow.scheduler, "flow_shift": 3.0})
    assert sigma_at(shifted, 0.5) == pytest.approx(3 * 0.5 / (1 + 2 * 0.5))
    assert sigma_at(shifted, 0.0) == float("inf") and sigma_at(shifted, 1.0) == 0


def test_one_prompt_counts_at_each_noise_level(flow):
    ranges = [{START: 0.0, END: 0.4}, {START: 0.4, END: 1.0}]
    border = sigma_at(flow, 0.4)
    assert [number_at(ranges, flow, sigma) for sigma in (1.0, border + 1e-4, border - 1e-4, 0.0)] == [0, 0, 1, 1]
    with pytest.raises(SamplingError, match=r"No prompt counts at noise level 0\.000: their ranges leave it out"):
        number_at(ranges[:1], flow, 0.0)
