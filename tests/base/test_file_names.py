"""What names of files tell: steps, Wan 2.2, and which expert."""

from __future__ import annotations

import pytest

from opent2v.base.file_names import expert_in, is_distilled, is_of_two_experts


@pytest.mark.parametrize(
    ("name", "expert"),
    [
        ("wan2.2_t2v_high_noise_14B_fp16", "high"),
        ("Wan2.2-Lightning_T2V-A14B-4steps-lora_LOW_fp16", "low"),
        ("wan22T2VHighNoise14B", "high"),
        ("DasiwaWAN22I2V14BLightspeed_synthseductionLowV9", "low"),
        ("high_noise_model", "high"),
        ("wan2.1_high_quality", ""),
        ("wan2.2_lowpoly_style", ""),
        ("WAN22_Highlights", ""),
    ],
)
def test_experts(name, expert):
    assert expert_in(name) == expert


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("wan2.2-t2v-rapid-aio-v10", True), ("hunyuan_video_FastVideo_720", True), ("accvid_5_steps", True),
        ("Wan14BT2VFusioniX", True), ("Wan2.2_i2v_14b_high_lighting", True), ("wan2.1_t2v_14B_fp16", False),
        ("hunyuan_video_720_fp8", False), ("trained_15000_steps", False), ("arcmotion", False),
    ],
)  # fmt: skip
def test_distilled(name, steps):
    assert is_distilled(name) is steps


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("Wan22_x", True),
        ("WAN2214B", True),
        ("wan2.2", True),
        ("T2V-A14B", True),
        ("wan2.1_v22", False),
        ("wan221", False),
    ],
)
def test_wan_2_2(name, new):
    assert is_of_two_experts(name) is new
