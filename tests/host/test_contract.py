"""Both hosts give the same numbers, and core's nodes work on our objects."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.host


def test_the_door_opens_to_comfyui_inside_comfyui(inside):
    assert inside("contract side") == "comfyui"


def test_same_conditioning_latents_and_frames_on_both_hosts(inside):
    assert inside("contract conditioning") <= 1e-5
    assert len(inside("contract latents")) == 9
    assert {case: error for case, error in inside("contract latents").items() if error > 1e-5} == {}
    assert inside("contract frames")["decode"] <= 1e-5
    assert inside("contract frames")["stream"] <= 1e-5
    assert inside("contract frames")["encode"] <= 1e-5
    assert inside("contract frames")["outside inference mode"] >= 0


def test_each_clip_of_a_run_is_the_clip_that_its_seed_and_prompt_make_alone(inside):
    """Core's own models: "clips" in the tests of each family."""
    found = inside("contract clips")
    assert set(found) == {"embedded", "comfyui", "hosts", "scale"}
    assert max(found["embedded"], found["comfyui"], found["hosts"]) <= 1e-5 * max(found["scale"], 1), found


def test_the_reference_pipeline_gives_the_same_video(inside):
    if isinstance(inside("contract reference"), str):
        pytest.skip(inside("contract reference"))
    assert inside("contract reference")["latents"] <= 1e-4
    assert inside("contract reference")["psnr"] >= 60


def test_core_nodes_work_on_our_objects(inside):
    assert inside("contract core_nodes")["text"] == 0
    assert inside("contract core_nodes")["decode"] == 0
    assert inside("contract core_nodes")["encode"] == [0, 0]
    shape, apart = inside("contract core_nodes")["usual tiles"]
    assert shape == [1, 16, 9, 8, 8] and apart <= 1e-4, apart
    shape, lowest, highest = inside("contract core_nodes")["tiled"]
    assert shape == [33, 96, 96, 3]
    assert 0 <= lowest < 0.2 and 0.8 < highest <= 1


def test_lora_equals_a_manual_merge_and_leaves_no_trace(inside):
    assert inside("contract lora")["effect"] > 1e-4
    assert inside("contract lora")["against merge"] <= 1e-4
    assert inside("contract lora")["restored"] == 0


def test_lora_is_kept_when_the_model_is_only_partly_loaded(inside):
    assert 0 < inside("contract lora")["partial"]["loaded"] < inside("contract lora")["partial"]["size"]
    assert inside("contract lora")["partial"]["against whole"] <= 1e-5


def test_the_bundled_models_are_a_further_place_to_look(inside):
    assert inside("contract models_listed") is True


def test_fp8_stays_fp8_where_bf16_would_not_fit(inside):
    assert inside("contract fp8_on_a_small_gpu") == ["torch.float32", "torch.float8_e4m3fn"]


def test_the_kinds_of_a_nodes_outputs_are_known(inside):
    assert inside("contract kinds") == [["MODEL", "CLIP", "VAE"], []]
