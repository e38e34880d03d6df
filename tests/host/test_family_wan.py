"""Wan inside a real ComfyUI: the same on both hosts, equal to core's own classes, at home with core's nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def inside(comfyui: Path, python: str) -> Callable[[str], Any]:
    """What a case of inside_wan.py gave."""
    return cases_of(report_of(python, "inside_wan.py", comfyui, timeout=600), "wan ")


def test_experts_and_pictures_are_the_same_on_both_hosts(inside):
    assert set(inside("hosts")) == {
        "t2v_a14b", "i2v start_image", "flf2v start_image end_image", "i2v_a14b start_image end_image",
        "ti2v start_image", "ti2v",
    }  # fmt: skip
    assert {case: error for case, error in inside("hosts").items() if error > 1e-5} == {}
    assert inside("encode") <= 1e-5


def test_both_experts_are_guided_the_same_on_both_hosts(inside):
    assert set(inside("guided")) == {"stg", "all"}
    for apart, moved in inside("guided").values():
        assert apart <= 1e-5 and moved > 1e-3


def test_half_the_storage_gives_nearly_the_same(inside):
    assert all(0 < error < 0.02 for error in inside("bf16").values()), inside("bf16")


def test_the_image_encoder_is_cores(inside):
    assert inside("clip_vision")["missing"] == []
    assert len(inside("clip_vision")["apart"]) == 4
    assert {case: error for case, error in inside("clip_vision")["apart"].items() if error > 1e-4} == {}


def test_the_model_is_cores(inside):
    assert len(inside("core_model")) == 5
    for name, found in inside("core_model").items():
        assert found["class"] == "WanModel", name
        assert found["difference"] <= 1e-4 and found["scale"] > 0.1, (name, found)
    assert {name: found["shift"] for name, found in inside("core_model").items()} == {
        "wan2.1_t2v": 5.0, "wan2.1_i2v": 5.0, "wan2.1_flf2v": 5.0, "wan2.2_i2v_high_noise": 5.0, "wan2.2_ti2v": 5.0,
    }  # fmt: skip
    assert inside("longer_prompt") <= 1e-5


def test_latents_are_cores(inside):
    # ComfyUI 0.33.0's own VAE adds up in another order: 1.1e-5 (2026-11-29), where 0.8.0's stays below 1e-5.
    for channels in ("16", "48"):
        assert inside("core_vae")[channels]["encode"] <= 2e-5
        assert inside("core_vae")[channels]["decode"] <= 2e-5


def test_core_nodes_and_ours_prepare_the_same_run(inside):
    assert inside("core_nodes")["clip vision into ours"] <= 1e-4
    assert inside("core_nodes")["WanImageToVideo"] <= 1e-4
    assert inside("core_nodes")["WanFirstLastFrameToVideo"] <= 1e-4
    assert inside("core_nodes")["Wan22ImageToVideoLatent"] <= 1e-4


def test_core_ksampler_takes_our_models(inside):
    assert inside("core_ksampler") == {"i2v": True, "ti2v": True, "high": True, "low": True}


def test_a_model_without_its_picture_says_so_in_comfyui_too(inside):
    assert inside("without_picture").startswith("Wan tiny is an image-to-video model and no picture is connected.")


def test_cores_wan_of_every_kind_in_our_sampler(inside):
    assert set(inside("in_our_sampler")) == set(inside("core_model"))
    for name, found in inside("in_our_sampler").items():
        assert found["task"] == ("image" if "i2v" in name.replace("ti2v", "") or "flf2v" in name else "text"), name
        assert (found["family"], found["same schedule"]) == ("wan", True), name
        assert found["apart"] <= 1e-4 and found["scale"] > 1, (name, found)
        assert found["clips"] <= 1e-5 * found["scale"], (name, found)
    assert inside("in_our_sampler")["wan2.2_ti2v"]["kept"] <= 1e-5  # the first frame, told a time of 0
