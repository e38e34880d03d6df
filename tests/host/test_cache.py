"""Step caches on a real ComfyUI: the same decisions as on the embedded host, KSampler, and core's own Wan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def inside(comfyui: Path, python: str, quickstart_model: Path) -> Callable[[str], Any]:
    """What a case of `cases_cache.py` found; all of them run once, in one ComfyUI."""
    return cases_of(report_of(python, "inside_cache.py", comfyui, timeout=600))


@pytest.mark.parametrize(
    ("policy", "reuses"),
    [("off", 0), ("easycache", None), ("first block", None), ("plan", 4), ("linear", 4), ("cpu", 4)],
)
def test_both_hosts_decide_the_same_and_make_the_same(inside, policy, reuses):
    found = inside("cache hosts")[policy]
    assert found["same"] is True and found["apart"] <= 1e-5
    if policy == "off":
        assert found["computed"] == []
    elif reuses is not None:
        assert found["computed"] == [12 - reuses]
    else:
        assert 0 < found["computed"][0] < 12


@pytest.mark.parametrize("whose", ["ours", "core"])
def test_ksampler_under_a_step_cache(inside, whose):
    found = inside("cache samplers")[whose]
    # 12 steps, both prompts in one batch: each block runs 12 times, and 8 times under the plan.
    assert found["calls"] == 12
    assert found["off"] == {"apart": 0, "calls": 12, "finite": True}
    assert found["computed"] == {"apart": 0, "calls": 12, "finite": True}
    assert found["plan"]["calls"] == 8 and found["plan"]["finite"] is True and found["plan"]["apart"] > 0
    assert found["easycache"]["calls"] < 12 and found["easycache"]["finite"] is True
    assert found["first block"]["calls"] < 12 and found["first block"]["finite"] is True
    assert all(found[f"whole {policy}"]["calls"] < 12 for policy in ("easycache", "seacache"))
    assert found["whole plan"] == {"calls": 8, "finite": True}
    # Of 12 steps Heun's method makes 23 calls; the plan's 4 levels come twice each.
    assert found["heun model"] == found["heun blocks"] == {"calls": 15, "again": 0}
    assert found["compiled"].startswith("SamplingError: This MODEL is compiled by TorchCompileModel or a node like it")
    assert found["again"] == 0 and found["untouched"] == 0
    assert found["other size"] == [2, 16, 2, 8, 4]


def test_teacaches_signal_is_found_in_cores_blocks(inside):
    # Of 12 steps at most three in a row are reused; eleven have a change to look at, and each is one.
    found = inside("cache teacache_on_core")
    assert found == {"calls": 4, "changes": 11, "moves": True}


def test_teacaches_signal_in_cores_other_networks(inside):
    """What the first attention gets is the modulated input of the first block."""
    found = inside("cache teacache_signals")
    assert found.keys() == {"ltx", "hunyuan", "mochi"} and max(found.values()) < 1e-5


def test_cores_wan_in_our_sampler(inside):
    found = inside("cache core_in_our_sampler")
    assert found["calls"] == [12, 8] and found["cache"] == "8 of 12 steps computed"
    assert found["off"] == 0 and found["apart"] > 0


def test_an_error_leaves_nothing_behind(inside):
    assert inside("cache stops") == {"said": "'mine'", "clean": True, "again": 0}


@pytest.mark.parametrize("boundary", ["model", "blocks"])
@pytest.mark.parametrize("name", ["wan", "wan vace", "ltx", "flux", "hunyuan", "mochi"])
def test_cores_networks_are_known_by_their_structure(inside, name, boundary):
    found = inside("cache core_structures")[f"{name} {boundary}"]
    assert found["finite"] is True and found["computed"] == 0 and found["reused"] <= 1e-5
    assert found["steps"] == {"0": True, "1": False, "2": True}
