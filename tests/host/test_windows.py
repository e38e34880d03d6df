"""Windows over time on a real ComfyUI: core's own numbers, the embedded host's, and a computation by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def inside(comfyui: Path, python: str, quickstart_model: Path) -> Callable[[str], Any]:
    """What a case of `cases_windows.py` found; all of them run once, in one ComfyUI."""
    return cases_of(report_of(python, "inside_windows.py", comfyui, timeout=600))


def test_windows_and_weights_are_cores(inside):
    assert inside("windows spans_and_weights") == {"wrong": [], "count": 1152}


def test_both_hosts_make_the_same(inside):
    apart = inside("windows hosts")
    assert len(apart) >= 18
    # The host takes a running mean where it blends by "relative": numbers of about 20 are rounded at other places.
    assert {name: value for name, value in apart.items() if value > (1e-4 if "relative" in name else 1e-5)} == {}


def test_one_window_equals_no_windows_bit_for_bit(inside):
    assert inside("windows one_window") == {"embedded": 0, "comfyui": 0, "KSampler": 0}


def test_two_windows_equal_a_computation_by_hand(inside):
    assert len(inside("windows two_windows_by_hand")) == 4
    assert max(inside("windows two_windows_by_hand").values()) <= 1e-5


def test_our_node_equals_cores_in_both_samplers_on_both_models_and_under_a_cache(inside):
    apart = inside("windows cores_windows")
    assert min(apart.pop("ours changes"), apart.pop("core changes")) > 0.1
    assert apart == dict.fromkeys(
        ("ours KSampler", "ours cache", "core KSampler", "core cache", "core Video Sampler"), 0
    )


def test_what_a_host_cannot_cut_is_refused(inside):
    refused = inside("windows refused")
    assert "Video Windows is for videos; this latent is of pictures" in refused["a picture"]
    assert "ake Video Windows out" in refused["streams"]
    # "" of a host that has lead_in.
    assert refused["lead in"] == "" or "This ComfyUI has no lead_in for windows over time" in refused["lead in"]


def test_picture_and_sound_are_cut_together(inside):
    found = inside("windows joint")
    if isinstance(found["words"], str):  # of a host that does not cut streams
        assert "This ComfyUI cuts no latents of picture and sound into windows" in found["words"]
    else:
        assert max(found.values()) <= 1e-5 and len(found) == 2


def test_a_prompt_travels_on_both_hosts_and_in_ksampler_and_needs_windows(inside):
    found = inside("windows travel")
    assert found["hosts"] <= 1e-5
    assert found["KSampler changes"] > 1e-2
    for name in ("no windows", "host's own windows", "core, no windows"):
        assert "The prompt travels over time, and this run computes the whole video at once" in found[name], name
    assert found["core changes"] > 1e-3 and found["core, one prompt"] == "nothing was refused"


def test_a_prompt_travels_by_steps_on_both_hosts_and_in_ksampler(inside):
    found = inside("windows travel_by_steps")
    assert found["hosts"] <= 1e-5
    assert found["KSampler changes"] > 1e-2 and found["core changes"] > 1e-3
