"""Step caches on MiniMax H3: a plan by a profile makes the asked speed, and picture and sound are judged apart.

Tests: sampling/caches/policies.py, sampling/calibration, nodes/compare_cache.py
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from opent2v.host import embedded
from opent2v.loaders import load_model, open_file
from opent2v.tests.families.minimax_h3.test_network import SHAPES, entry
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import minimax_h3 as tiny

pytest.importorskip("diffusers", "0.40")
STEPS = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tiny.save(tmp_path_factory.mktemp("h3") / "h3.safetensors", tiny.originals("pruned"))
    return embedded.model(load_model(open_file(path), torch.float32))


def inputs(model: Any) -> dict[str, Any]:
    conditioning = [[entry()["cross_attn"], {}]]
    latent = {"samples": embedded.nested([torch.zeros(shape) for shape in SHAPES])}
    return {"model": model, "positive": conditioning, "negative": conditioning, "latent": latent, "seed": 3,
            "steps": STEPS}  # fmt: skip


def cached(model: Any, **settings: Any) -> tuple[dict[str, Any], int]:
    """(LATENT, steps that were computed) of a run."""
    (cache,), _ = call("OpenT2VStepCache", few_steps=True, **settings)
    results, _ = call("OpenT2VSampler", **inputs(model), step_cache=cache)
    computed = re.search(r"(\d+) of 12 steps computed", results[1])
    assert computed is not None, results[1]
    return results[0], int(computed[1])


def test_a_plan_by_a_profile_makes_the_speed_and_both_streams_are_judged(model, tmp_path):
    (profile, full, *_), ui = call("OpenT2VCalibrateCache", **inputs(model), name="h3")
    assert "Of " in remarks(ui)
    computed, likeness = {}, {}
    for speed in (1.3, 2.0):
        latent, computed[speed] = cached(model, policy="optimal", profile=profile, target_speedup=speed)
        _, ui = call("OpenT2VCompareCache", latent=latent, reference_latent=full)
        lines = {line.split()[0]: line for line in remarks(ui).splitlines() if line.split()}
        assert "latents" in lines and "sound" in lines, remarks(ui)
        numbers = [re.findall(r"-?\d+\.\d+", lines[name]) for name in ("latents", "sound")]
        assert numbers[0] != numbers[1]
        likeness[speed] = [float(first[0]) for first in numbers]
    assert computed[1.3] > computed[2.0] >= STEPS // 2 - 1
    for stream in (0, 1):
        assert likeness[1.3][stream] > likeness[2.0][stream]
