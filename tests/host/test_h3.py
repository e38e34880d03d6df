"""MiniMax H3 from our loaders against core's own classes and nodes, and on both hosts. ComfyUI has it since 0.30."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host
KINDS = ("full", "pruned")
CASES = ("words", "keyframes", "references", "both")


@pytest.fixture(scope="module")
def h3(comfyui: Path, python: str) -> Any:
    if not (comfyui / "comfy/ldm/minimax").is_dir():
        pytest.skip("this ComfyUI has no MiniMax H3")
    return cases_of(report_of(python, "inside_h3.py", comfyui, timeout=900), "h3 ")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_one_call_equals_cores(h3, kind, name):
    assert h3("one_call_equals_cores")[f"{kind}, {name}"] < 1e-5


@pytest.mark.parametrize("name", [*CASES])
@pytest.mark.parametrize("kind", KINDS)
def test_cores_run_of_our_model_equals_that_of_its_own(h3, kind, name):
    assert h3("runs_equal_cores")[f"{kind}, {name}"] < 1e-4


@pytest.mark.parametrize("start", ["pruned, filled", "pruned, masked", "res_multistep"])
def test_so_do_runs_from_a_latent_with_masks_and_by_other_samplers(h3, start):
    assert h3("runs_equal_cores")[start] < 1e-4 and h3("runs_equal_cores")["spread"] > 0.5


def test_a_shift_of_both_streams_is_cores(h3):
    found = dict(h3("shifts"))
    assert found.pop("moved") > 0.1
    assert all(difference < 1e-4 for difference in found.values()), found


def test_both_hosts_and_cores_model_give_the_same_in_our_sampler(h3):
    found = h3("equal_on_both_hosts")
    assert len(found) == 12 and all(difference < 1e-4 for difference in found.values()), found


def test_our_model_runs_behind_cores_nodes(h3):
    found = h3("in_cores_nodes")
    assert found["apart"] < 1e-4 and found["levels"] == 0
    assert found["shapes"] == [[1, 24, 7, 4, 6], [1, 32, 2, 37]]


def test_a_full_models_lora_is_turned_for_a_pruned_model_of_cores_too(h3):
    found = h3("a_full_models_lora_on_a_pruned_one")
    assert found["apart"] < 1e-5 and found["turned"] > 0.01 and found["said"]
