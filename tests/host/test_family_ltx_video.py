"""LTX-Video inside a real ComfyUI: the same on both hosts, equal to core's own classes, at home with core's nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from .report import report_of

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def report(comfyui: Path, python: str) -> dict:
    return report_of(python, "inside_ltx_video.py", comfyui)


def test_text_pictures_and_rescaled_guidance_are_the_same_on_both_hosts(report):
    assert len(report["hosts"]) == 6
    assert {case: error for case, error in report["hosts"].items() if error > 1e-5} == {}
    assert report["decode"] <= 1e-5


def test_spatio_temporal_guidance_is_the_same_on_both_hosts(report):
    assert len(report["guidance"]) == 8
    for case, (error, effect, *counts, _) in report["guidance"].items():
        assert error <= 1e-5 and effect > 1e-3, case
        assert counts[0] == counts[1], case


def test_a_step_cache_under_spatio_temporal_guidance(report):
    found = {case: (said, moved) for case, (*_, said, moved) in report["guidance"].items() if "cached" in case}
    assert found.pop("cached, all computed") == ("4 of 4 steps computed", 0)
    assert {case: moved for case, (_, moved) in found.items() if not moved > 1e-3} == {}
    assert found["cached, blocks, start, rescaled"][0] == "2 of 4 steps computed"
    # Nothing is kept for the negative prompt, which the first and last step do without, nor for the perturbed pass,
    # which the first does without: they are computed in the second whatever the plan says, and the prompt with them.
    assert found["cached, plan, by step, star"][0] == (
        "positive 3 of 4 steps computed, perturbed 2 of 3 steps computed, negative 1 of 2 steps computed"
    )


def test_rescaling_leaves_the_users_model_alone(report):
    assert report["options left alone"] is True


def test_the_model_is_cores(report):
    assert report["core class"] == "LTXVModel"
    assert len(report["core model"]) == 10
    for case, (error, scale) in report["core model"].items():
        assert error <= 1e-4 and scale > 1, case


def test_latents_are_cores(report):
    for version in ("0.9.0", "0.9.1", "0.9.5"):
        found = report["core vae"][version]
        assert found["zeros"]["encode"] <= 1e-5 and found["zeros"]["decode"] <= 1e-5, version
        assert found["default"]["encode"] <= 1e-5, version
        # Without a config in the file, core's decoder mirrors the picture at its edges; the original's has zeros there.
        assert found["default"]["decode"] > 1e-2, version


def test_cores_conditioning_is_ours(report):
    assert report["core text missing"] == []
    assert report["core text"] <= 1e-5
    assert report["core conditioning"] <= 1e-4  # 128 tokens of core's, 256 of ours


def test_core_nodes_work_on_our_objects(report):
    assert report["core LTXVImgToVideo"] <= 1e-5
    assert report["core LTXVConditioning"] > 1e-3
    with_guide, cropped, guide_error = report["core LTXVAddGuide"]
    assert (with_guide, cropped) == ([1, 128, 4, 2, 3], [1, 128, 3, 2, 3]) and guide_error <= 1e-5
    assert report["core ksampler"] == [True, True, True]


def test_unet_loaders_ltx_video_in_our_sampler(report):
    assert set(report["in our sampler"]) == {"empty", "kept frame", "12 fps", "guidance"}
    for case, found in report["in our sampler"].items():
        assert (found["family"], found["same schedule"]) == ("ltx_video", True), case
        assert found["apart"] <= 1e-4 and found["scale"] > 1, (case, found)
    assert report["in our sampler reads"]["mask"] > 1e-2 and report["in our sampler reads"]["frame rate"] > 1e-2
    assert report["in our sampler reads"]["guidance"] > 1e-2
    cached = report["in our sampler, cached"]
    assert cached["apart"] <= 1e-4 and cached["from full"] > 1e-2
    kept, made = report["in our sampler keeps"]
    assert kept <= 1e-5 and made > 0.1
