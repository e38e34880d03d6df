"""LTX-Video inside a real ComfyUI: the same on both hosts, equal to core's own classes, at home with core's nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def inside(comfyui: Path, python: str) -> Callable[[str], Any]:
    """What a case of inside_ltx_video.py gave."""
    return cases_of(report_of(python, "inside_ltx_video.py", comfyui, timeout=600), "ltx_video ")


def test_text_pictures_and_rescaled_guidance_are_the_same_on_both_hosts(inside):
    assert len(inside("hosts")) == 6
    assert {case: error for case, error in inside("hosts").items() if error > 1e-5} == {}
    assert inside("decode") <= 1e-5


def test_spatio_temporal_guidance_is_the_same_on_both_hosts(inside):
    assert len(inside("guidance")) == 8
    for case, (error, effect, *counts, _) in inside("guidance").items():
        assert error <= 1e-5 and effect > 1e-3, case
        assert counts[0] == counts[1], case


def test_a_step_cache_under_spatio_temporal_guidance(inside):
    found = {case: (said, moved) for case, (*_, said, moved) in inside("guidance").items() if "cached" in case}
    assert found.pop("cached, all computed") == ("4 of 4 steps computed", 0)
    assert {case: moved for case, (_, moved) in found.items() if not moved > 1e-3} == {}
    assert found["cached, blocks, start, rescaled"][0] == "2 of 4 steps computed"
    # Nothing is kept for the negative prompt, which the first and last step do without, nor for the perturbed pass,
    # which the first does without: they are computed in the second whatever the plan says, and the prompt with them.
    assert found["cached, plan, by step, star"][0] == (
        "positive 3 of 4 steps computed, perturbed 2 of 3 steps computed, negative 1 of 2 steps computed"
    )


def test_rescaling_leaves_the_users_model_alone(inside):
    assert inside("options_left_alone") is True


def test_the_model_is_cores(inside):
    assert inside("core_model")["class"] == "LTXVModel"
    assert len(inside("core_model")["predictions"]) == 10
    for case, (error, scale) in inside("core_model")["predictions"].items():
        assert error <= 1e-4 and scale > 1, case


def test_latents_are_cores(inside):
    for version in ("0.9.0", "0.9.1", "0.9.5"):
        found = inside("core_vae")[version]
        assert found["zeros"]["encode"] <= 1e-5 and found["zeros"]["decode"] <= 1e-5, version
        assert found["default"]["encode"] <= 1e-5, version
        # Without a config in the file, core's decoder mirrors the picture at its edges; the original's has zeros there.
        assert found["default"]["decode"] > 1e-2, version


def test_cores_conditioning_is_ours(inside):
    assert inside("core_text")["missing"] == []
    assert inside("core_text")["text"] <= 1e-5
    assert inside("core_text")["conditioning"] <= 1e-4  # 128 tokens of core's, 256 of ours


def test_core_nodes_work_on_our_objects(inside):
    assert inside("core_nodes")["LTXVImgToVideo"] <= 1e-5
    assert inside("core_nodes")["LTXVConditioning"] > 1e-3
    with_guide, cropped, guide_error = inside("core_nodes")["LTXVAddGuide"]
    assert (with_guide, cropped) == ([1, 128, 4, 2, 3], [1, 128, 3, 2, 3]) and guide_error <= 1e-5
    assert inside("core_ksampler") == [True, True, True]


def test_unet_loaders_ltx_video_in_our_sampler(inside):
    assert set(inside("in_our_sampler")["apart"]) == {"empty", "kept frame", "12 fps", "guidance"}
    for case, found in inside("in_our_sampler")["apart"].items():
        assert (found["family"], found["same schedule"]) == ("ltx_video", True), case
        assert found["apart"] <= 1e-4 and found["scale"] > 1, (case, found)
        assert found["clips"] <= 1e-5 * found["scale"], (case, found)
    assert inside("in_our_sampler")["reads"]["mask"] > 1e-2 and inside("in_our_sampler")["reads"]["frame rate"] > 1e-2
    assert inside("in_our_sampler")["reads"]["guidance"] > 1e-2
    cached = inside("in_our_sampler")["cached"]
    assert cached["apart"] <= 1e-4 and cached["from full"] > 1e-2
    kept, made = inside("in_our_sampler")["keeps"]
    assert kept <= 1e-5 and made > 0.1
