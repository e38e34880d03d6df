"""Both hosts give the same numbers, and core's nodes work on our objects."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.host


@pytest.fixture
def report(inside) -> dict:
    return inside("contract contract")


def test_the_door_opens_to_comfyui_inside_comfyui(report):
    assert report["side"] == "comfyui"


def test_same_conditioning_latents_and_frames_on_both_hosts(report):
    assert report["conditioning"] <= 1e-5
    assert len(report["contract"]) == 9
    assert {case: error for case, error in report["contract"].items() if error > 1e-5} == {}
    assert report["decode"] <= 1e-5
    assert report["stream"] <= 1e-5
    assert report["encode"] <= 1e-5
    assert report["decode outside inference mode"] >= 0


def test_the_reference_pipeline_gives_the_same_video(report):
    if isinstance(report["reference"], str):
        pytest.skip(report["reference"])
    assert report["reference"]["latents"] <= 1e-4
    assert report["reference"]["psnr"] >= 60


def test_core_nodes_work_on_our_objects(report):
    assert report["core text"] == 0
    assert report["core decode"] == 0
    assert report["core encode"] == [0, 0]
    shape, lowest, highest = report["core tiled"]
    assert shape == [17, 64, 64, 3]
    assert 0 <= lowest < 0.2 and 0.8 < highest <= 1


def test_lora_equals_a_manual_merge_and_leaves_no_trace(report):
    assert report["lora"]["effect"] > 1e-4
    assert report["lora"]["against merge"] <= 1e-4
    assert report["restored"] == 0


def test_lora_is_kept_when_the_model_is_only_partly_loaded(report):
    assert 0 < report["partial"]["loaded"] < report["partial"]["size"]
    assert report["partial"]["against whole"] <= 1e-5


def test_the_bundled_models_are_a_further_place_to_look(report):
    assert report["models listed"] is True


def test_fp8_stays_fp8_where_bf16_would_not_fit(inside):
    assert inside("contract fp8_on_a_small_gpu") == ["torch.float32", "torch.float8_e4m3fn"]
