"""200 steps learn a clip by heart, and the sampler then draws it: a family for each kind of prediction.

All families: scripts/bench/overfit.py; numbers in docs/measured.md.

Tests: finetune/loop.py, finetune/objective.py
"""

from __future__ import annotations

import pytest

from opent2v.tests.finetune.overfit import overfit


@pytest.mark.parametrize("name", ["wan", "cogvideox 1.5"])
def test_a_clip_is_learned_by_heart(name):
    outcome = overfit(name)
    assert outcome.last < outcome.first / 10
    assert outcome.after > outcome.before + 3, outcome
