"""The table of what is known of few steps: real names come to the right row, names that look like them to none.

Tests: base/few_steps.py and the families' own few_steps.py.
"""

from __future__ import annotations

import json

import pytest

from opent2v.base.few_steps import (
    CHECKPOINT,
    LORA,
    METADATA,
    RENOISED,
    FewSteps,
    known,
    of_file,
    stated,
)
from opent2v.families import families
from opent2v.families.ltx_video.versions import version_in

L, C, X2V = LORA, CHECKPOINT, "LightX2V step distillation"
# family, kind, name as its maker published it, name of the model -> title, steps, cfg, shift
REAL = [
    ("wan", L, "Wan2.2-Lightning_T2V-A14B-4steps-lora_HIGH_fp16", "", "Wan2.2-Lightning", 4, 1, (5,)),
    ("wan", L, "Wan2.2-Lightning_T2V-v1.1-A14B-4steps-lora_LOW_fp16", "", "Wan2.2-Lightning", 4, 1, (5,)),
    ("wan", L, "Wan2.2-Lightning_I2V-A14B-4steps-lora_HIGH_fp16", "", "Wan2.2-Lightning", 4, 1, (5,)),
    ("wan", L, "Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V1.1/high_noise_model", "", "Wan2.2-Lightning", 4, 1, (5,)),
    ("wan", L, "Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V2.0/low_noise_model", "", "Wan2.2-Lightning", 4, 1, (5,)),
    ("wan", L, "Wan2.2-I2V-A14B-4steps-lora-rank64-Seko-V1/high_noise_model", "", "Wan2.2-Lightning", 4, 1, (5,)),
    ("wan", L, "Wan2.2-T2V-A14B-4steps-lora-250928/high_noise_model", "", "Wan2.2-Lightning", 4, 1, (5,)),
    ("wan", L, "Wan22_A14B_T2V_HIGH_Lightning_4steps_lora_250928_rank128_fp16", "", "Wan2.2-Lightning", 4, 1, (5,)),
    ("wan", L, "Wan22_A14B_T2V_LOW_Lightning_4steps_lora_250928_rank64_fp16", "", "Wan2.2-Lightning", 4, 1, (5,)),
    ("wan", L, "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise", "", X2V, 4, 1, (5,)),
    ("wan", L, "wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise", "", X2V, 4, 1, (5,)),
    ("wan", L, "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise", "", X2V, 4, 1, (5,)),
    ("wan", L, "wan2.2_i2v_A14b_high_noise_lora_rank64_lightx2v_4step_1022", "", X2V, 4, 1, (5,)),
    ("wan", L, "wan2.2_t2v_A14b_low_noise_lora_rank64_lightx2v_4step_1217", "", X2V, 4, 1, (5,)),
    ("wan", L, "Wan_2_2_I2V_A14B_HIGH_lightx2v_4step_lora_v1030_rank_64_bf16", "", X2V, 4, 1, (5,)),
    ("wan", L, "Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32", "", X2V, 4, 1, (5,)),
    ("wan", L, "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16", "", X2V, 4, 1, (5,)),
    ("wan", L, "lightx2v_I2V_14B_480p_cfg_step_distill_rank128_bf16", "", X2V, 4, 1, (5,)),
    ("wan", L, "Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64", "", X2V, 4, 1, (5,)),
    ("wan", C, "Wan2.1-T2V-14B-StepDistill-CfgDistill", "", X2V, 4, 1, (5,)),
    ("wan", C, "Wan2.1-I2V-14B-480P-StepDistill-CfgDistill-Lightx2v-fp8", "", X2V, 4, 1, (5,)),
    ("wan", C, "wan2.1_t2v_14b_scaled_fp8_e4m3_lightx2v_4step", "", X2V, 4, 1, (5,)),
    ("wan", C, "wan2.2_i2v_A14b_high_noise_scaled_fp8_e4m3_lightx2v_4step", "", X2V, 4, 1, (5,)),
    ("wan", C, "Wan2.2_Remix_NSFW_i2v_14b_high_lighting_fp16_v2.1", "", "a merged Lightning LoRA", 4, 1, (5,)),
    ("wan", C, "DasiwaWAN22I2V14BLightspeed_synthseductionHighV9", "", "a merged Lightning LoRA", 4, 1, (5,)),
    ("wan", L, "Wan21_CausVid_14B_T2V_lora_rank32", "", "CausVid LoRA", 8, 1, (8,)),
    ("wan", L, "Wan21_CausVid_14B_T2V_lora_rank32_v2", "", "CausVid LoRA", 8, 1, (8,)),
    ("wan", L, "Wan21_CausVid_bidirect2_T2V_1_3B_lora_rank32", "", "CausVid LoRA", 8, 1, (8,)),
    ("wan", C, "Wan2_1-T2V-14B_CausVid_fp8_e4m3fn", "", "CausVid", 3, 1, (8,)),
    ("wan", L, "Wan21_AccVid_T2V_14B_lora_rank32_fp16", "", "AccVideo", 10, 1, (5,)),
    ("wan", L, "Wan21_AccVid_I2V_480P_14B_lora_rank32_fp16", "", "AccVideo", 10, 1, (5,)),
    ("wan", C, "Wan2_1-AccVid-T2V-14B_fp8_e4m3fn", "", "AccVideo", 10, 1, (5,)),
    ("wan", C, "AccVideo-WanX-I2V-480P-14B", "", "AccVideo", 10, 1, (5,)),
    ("wan", C, "FastWan2_1-T2V-1.3B_bf16", "", "FastWan", 3, 1, ()),
    ("wan", C, "FastWan2.2-TI2V-5B-FullAttn-Diffusers", "", "FastWan", 3, 1, ()),
    ("wan", C, "Wan2_2-TI2V-5B-FastWanFullAttn_bf16", "", "FastWan", 3, 1, ()),
    ("wan", L, "Wan2_2_5B_FastWanFullAttn_lora_rank_128_bf16", "", "FastWan", 3, 1, ()),
    ("wan", L, "FastWan_T2V_14B_480p_lora_rank_128_bf16", "", "FastWan", 3, 1, ()),
    ("wan", C, "Wan2_1-T2V-1.3B-Self-Forcing-DMD-FP16", "", "Self-Forcing", 4, 1, (5,)),
    ("wan", C, "self_forcing_dmd", "", "Self-Forcing", 4, 1, (5,)),
    ("wan", L, "Wan2.1_T2V_14B_SelfForcing_VSD_4_steps_lora_rank_32_fp16", "", "Self-Forcing", 4, 1, (5,)),
    ("wan", C, "rCM-Wan2.1-T2V-14B-480p", "", "rCM", 4, 1, ()),
    ("wan", C, "rCM_Wan2.1_T2V_1.3B_480p", "", "rCM", 4, 1, ()),
    ("wan", L, "Wan_2_1_T2V_14B_480p_rCM_lora_average_rank_83_bf16", "", "rCM", 4, 1, ()),
    ("wan", C, "TurboWan2.1-T2V-1.3B-480P", "", "rCM", 4, 1, ()),
    ("wan", C, "TurboWan2.2-I2V-A14B-high-720P", "", "rCM, two experts", 4, 1, ()),
    ("wan", C, "Wan14BT2VFusioniX_fp16", "", "FusioniX", 8, 1, (1,)),
    ("wan", C, "wan2.1_t2v_14b_fusionx_vace_q4", "", "FusioniX", 8, 1, (1,)),
    ("wan", L, "Wan2.1_T2V_14B_FusionX_LoRA", "", "FusioniX", 8, 1, (1,)),
    ("wan", L, "Wan2.1_I2V_14B_FusionX_LoRA", "", "FusioniX", 8, 1, (1,)),
    ("wan", C, "wan2.2-t2v-rapid-aio-v10", "", "Rapid AllInOne", 4, 1, (5,)),
    ("wan", C, "wan2.2-i2v-rapid-aio-nsfw-v9.2", "", "Rapid AllInOne", 4, 1, (5,)),
    ("wan", C, "wan2.2-rapid-mega-aio-v12", "", "Rapid AllInOne", 4, 1, (5,)),
    ("wan", C, "Wan2_2-TI2V-5B-Turbo_fp16", "2.2 TI2V 5B", "Wan2.2-TI2V-5B-Turbo", 4, 1, (5,)),
    ("hunyuan_video", C, "hunyuan_video_FastVideo_720_fp8_e4m3fn", "", "FastHunyuan", 6, 6, (17,)),
    ("hunyuan_video", C, "fast-hunyuan-video-t2v-720p-Q4_K_M", "", "FastHunyuan", 6, 6, (17,)),
    ("hunyuan_video", L, "hyvideo_FastVideo_LoRA-fp8", "", "FastHunyuan", 6, 6, (17,)),
    ("hunyuan_video", C, "accvideo-t2v-5-steps_fp8_e4m3fn", "", "AccVideo", 5, 6, (7,)),
    ("hunyuan_video", L, "hunyuan_video_accvid_5_steps_lora_rank16_fp8_e4m3fn", "", "AccVideo", 5, 6, (7,)),
    ("mochi", C, "FastMochi-diffusers", "", "FastMochi", 8, 1.5, ()),
    ("ltx_video", L, "ltxv-13b-0.9.7-distilled-lora128", "13B 0.9.7", "LTX-Video distilled LoRA", 7, 1, ()),
    ("ltx_video", L, "ltxv_13b_097_distilled_lora_rank128", "13B 0.9.7", "LTX-Video distilled LoRA", 7, 1, ()),
    ("ltx2", L, "ltx-2-19b-distilled-lora-384", "2.0", "LTX-2 distilled LoRA", 8, 1, ()),
    ("ltx2", L, "ltx-2.3-22b-distilled-lora-384", "2.3", "LTX-2 distilled LoRA", 8, 1, ()),
    ("ltx2", L, "LTX23_22b_distilled_lora_dynamic_fro09_avg_rank_105_bf16", "2.3", "LTX-2 distilled LoRA", 8, 1, ()),
    ("ltx2", L, "ltx-2.5-22b-distilled-lora-450", "2.5", "LTX-2 distilled LoRA", 8, 1, ()),
    ("minimax_h3", L, "minimax_h3_fl2v_turbo_8step_v1.0_bf16", "", "MiniMax H3 Turbo 544p", 8, 1, (12, 3)),
    ("minimax_h3", L, "minimax_h3_fl2v_turbo_8step_v1.0_comfyui_bf16", "", "MiniMax H3 Turbo 544p", 8, 1, (12, 3)),
    ("minimax_h3", L, "minimax_h3_fl2v_turbo_4step_v1.0_768p_bf16", "", "MiniMax H3 Turbo 768p", 4, 1, (6, 3)),
    ("minimax_h3", L, "FastH3_lora_rank64", "", "FastH3", 8, 1, (10, 3)),
    ("minimax_h3", L, "minimax_h3_ref2v_turbo_8step_v1.0_768p_bf16", "", "MiniMax H3 Turbo 768p", 8, 1, (6, 3)),
    ("minimax_h3", L, "minimax_h3_turbo_544p_v1.0", "", "MiniMax H3 Turbo 544p", 8, 1, (12, 3)),
    ("minimax_h3", L, "minimax_h3_turbo_768p_v1.0", "", "MiniMax H3 Turbo 768p", 8, 1, (6, 3)),
    ("minimax_h3", L, "MiniMax-H3-768p-4step-lightx2v", "", "MiniMax H3 Turbo 768p", 4, 1, (6, 3)),
]  # fmt: skip
# Names that hold the same words and mean something else, or belong to no family's few steps.
DECOYS = [
    ("wan", L, "wan2.2_lightning_storm_vfx_high_noise"),
    ("wan", L, "thor_lightning_powers_wan2.1_14b"),
    ("wan", L, "Wan22_LightningStrike_LOW"),
    ("wan", L, "porsche_911_turbo_wan2.1_t2v"),
    ("wan", L, "white_water_rapids_i2v_480p"),
    ("wan", L, "rapid_zoom_out_wan_14b"),
    ("wan", L, "4_steps_dance_wan2.1"),
    ("wan", L, "step_by_step_baking_wan"),
    ("wan", L, "distillery_interior_style"),
    ("wan", L, "breakfast_wan_style"),
    ("wan", L, "fastwanderer_v2"),
    ("wan", L, "admdesign_wan21"),
    ("wan", L, "arcmotion_lora"),
    ("wan", L, "fusion_energy_reactor_wan"),
    ("wan", L, "selfie_stick_forced_perspective"),
    ("wan", L, "studio_lighting_wan2.2_high_noise"),
    ("wan", L, "accident_video_wan"),
    ("wan", L, "causal_video_chain_reaction"),
    ("wan", L, "trained_15000_steps"),
    ("wan", C, "Wan2_1-MoviiGen1_1_fp8_e4m3fn"),
    ("wan", C, "wan2.2_t2v_high_noise_14B_fp8_scaled"),
    ("wan", C, "Wan2_1-T2V-14B_fp8_e4m3fn"),
    ("wan", C, "wan_14b_trained_24steps_epoch8"),
    ("hunyuan_video", L, "fast_car_chase_hunyuan"),
    ("hunyuan_video", C, "hunyuan_video_720_cfgdistill_fp8_e4m3fn"),
    ("ltx2", L, "distillery_tour_ltx2"),
    ("ltx2", L, "ltx23_ic_lora_union_control"),
    ("ltx_video", L, "ltxv_098_camera_orbit"),
    ("minimax_h3", L, "turbocharger_h3_style"),
    ("minimax_h3", L, "turbocharger_h3_768p_8steps"),
    ("minimax_h3", L, "a_portrait_768p"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "kind", "name", "model", "title", "steps", "cfg", "shift"), REAL)
def test_a_real_name_comes_to_its_row(family, kind, name, model, title, steps, cfg, shift):
    folder, _, file = f"/{name}".rpartition("/")
    row = of_file(families()[family].sampling.few_steps, (f"{file}.safetensors", folder), {}, kind, model)
    assert row is not None
    assert (row.title, row.steps, row.cfg, row.shift) == (title, steps, cfg, shift)
    assert row.source and not row.is_guess and (not row.sigmas or len(row.sigmas) == steps)


@pytest.mark.parametrize(("family", "kind", "name"), DECOYS)
def test_a_name_that_only_looks_like_one_comes_to_none(family, kind, name):
    assert known(families()[family].sampling.few_steps, f"{name}.safetensors", kind) is None


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("ltxv-13b-0.9.8-distilled", "0.9.8"), ("ltxv-13b-098-distilled-fp8", "0.9.8"),
        ("LTXV_13B_097_distilled", "0.9.7"), ("ltxv-2b-0.9.6-distilled-04-25", "0.9.6"),
        ("ltxv_2b_096_distilled", "0.9.6"), ("ltx-video-2b-v0.9.1", "0.9.1"), ("ltxv_style_1098", ""),
        ("ltxv-13b-20250908", ""),
    ],
)  # fmt: skip
def test_the_version_of_an_ltx_video_checkpoint_without_dots(name, version):
    """Its distilled checkpoints are variants of their own, told by version and by the word."""
    assert version_in(name) == version


def test_the_table_is_as_long_as_it_should_be():
    assert len(REAL) >= 60 and len(DECOYS) >= 20
    assert len({name for _, _, name, *_ in REAL}) == len(REAL)


def test_every_row_is_reached_and_names_its_source():
    """A row that no name in this test reaches may be hidden behind an earlier one."""
    reached = {(family, title) for family, _, _, _, title, *_ in REAL}
    rows = [(family.id, row) for family in families().values() for row in family.sampling.few_steps]
    assert all(row.source and row.steps > 0 and row.cfg > 0 for _, row in rows)
    unreached = {(family, row.title) for family, row in rows if not row.is_guess} - reached
    assert unreached == {("wan", "DMD")}
    assert known(families()["wan"].sampling.few_steps, "wan13b_dmd2_rank64", LORA).solver == RENOISED


def test_a_file_states_its_own_values():
    metadata = {METADATA: json.dumps({"title": "mine", "steps": 3, "cfg": 1, "shift": [3], "sigmas": [1, 0.7, 0.4]})}
    row = of_file((), ("lora.safetensors", ""), metadata, LORA)
    assert row == FewSteps("mine", "", "the file's own metadata", 3, shift=(3.0,), sigmas=(1.0, 0.7, 0.4))
    assert row.values == "3 steps, cfg 1, shift 3" and row.levels(3, None) == (1.0, 0.7, 0.4)
    assert row.levels(4, None) == pytest.approx((1, 0.9, 0.75, 0.5)) and row.levels(2, 1.0) == (1.0, 0.5)


@pytest.mark.parametrize(
    "value",
    ["", "{", "null", "[]", '"4"', '{"cfg": 1}', '{"steps": 0}', '{"steps": "many"}', '{"steps": NaN}',
     '{"steps": 4, "sigmas": [1, 0.5]}', '{"steps": 2, "sigmas": [0.5, 1]}', '{"steps": 2, "sigmas": [2, 1]}',
     '{"steps": 4, "shift": [-1]}', '{"steps": 4, "shift": 5}',
     '{"steps": 4, "solver": "magic"}', '{"steps": 4, "cfg": -1}'],
)  # fmt: skip
def test_values_that_cannot_be_read_are_not_taken(value):
    assert stated({METADATA: value}, "lora") is None
