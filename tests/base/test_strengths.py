"""Strengths over steps: what a text says, exact at the borders."""

from __future__ import annotations

import pytest

from opent2v.base import FamilyError
from opent2v.base.strengths import parse


@pytest.mark.parametrize(
    ("text", "steps", "factors"),
    [
        ("1 until 50 %, then 0", 4, [1, 1, 0, 0]),
        ("1 until 50%, 0", 5, [1, 1, 1, 0, 0]),
        ("0 until 25 %, 1 until 75 %, then 0.5", 4, [0, 1, 1, 0.5]),
        ("0.8", 3, [0.8, 0.8, 0.8]),
        ("-1 until 33.34 %, then 2", 3, [-1, -1, 2]),
        ("1 until 1 %, then 0", 1, [1]),
    ],
)
def test_factors(text, steps, factors):
    strengths = parse(text)
    assert strengths is not None
    assert [strengths.at(step, steps) for step in range(steps)] == factors
    assert parse(strengths.text) == strengths


def test_an_empty_text_leaves_the_strength():
    assert parse("  ") is None


@pytest.mark.parametrize(
    "text",
    ["fast", "1 until 50 %", "1, 0", "1 until 50 %, then 0 until 80 %", "1 until 80 %, 0 until 50 %, then 1",
     "1 until 0 %, then 0", "1 until 120 %, then 0", "1 until half, then 0", ","],
)  # fmt: skip
def test_what_cannot_be_read(text):
    with pytest.raises(FamilyError, match=r"strength_over_steps is .* expected"):
        parse(text)
