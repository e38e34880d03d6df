"""Diffusers' transformers by structure alone: neither a computed call nor a reused one of equal input changes them.

Tests: sampling/caches/gate.py
"""

from __future__ import annotations

import pytest
import torch

from opent2v.sampling.caches.gate import region
from opent2v.tests.sampling.caches.doubling import NEGATIVE, POSITIVE, cache


def vace():
    from diffusers import WanVACETransformer3DModel

    model = WanVACETransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=16, freq_dim=16,
        ffn_dim=32, num_layers=4, vace_layers=[0, 2], vace_in_channels=6, rope_max_seq_len=32,
    )  # fmt: skip
    return model, {
        "hidden_states": torch.randn(2, 4, 3, 8, 8), "timestep": torch.tensor([500, 500]),
        "encoder_hidden_states": torch.randn(2, 5, 16), "control_hidden_states": torch.randn(2, 6, 3, 8, 8),
    }  # fmt: skip


def ltx2():
    from diffusers import LTX2VideoTransformer3DModel

    model = LTX2VideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=12, cross_attention_dim=24,
        audio_in_channels=4, audio_out_channels=4, audio_num_attention_heads=2, audio_attention_head_dim=8,
        audio_cross_attention_dim=16, num_layers=3, caption_channels=16,
    )  # fmt: skip
    return model, {
        "hidden_states": torch.randn(2, 12, 4), "audio_hidden_states": torch.randn(2, 5, 4),
        "encoder_hidden_states": torch.randn(2, 6, 16), "audio_encoder_hidden_states": torch.randn(2, 6, 16),
        "timestep": torch.full((2,), 500.0), "num_frames": 3, "height": 2, "width": 2, "audio_num_frames": 5,
        "fps": 24.0,
    }  # fmt: skip


def flux():
    from diffusers import FluxTransformer2DModel

    model = FluxTransformer2DModel(
        in_channels=4, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=8, axes_dims_rope=(4, 4, 8), guidance_embeds=False,
    )  # fmt: skip
    return model, {
        "hidden_states": torch.randn(2, 9, 4), "encoder_hidden_states": torch.randn(2, 5, 16),
        "pooled_projections": torch.randn(2, 8), "timestep": torch.tensor([0.5, 0.5]), "txt_ids": torch.zeros(5, 3),
        "img_ids": torch.randn(9, 3),
    }  # fmt: skip


def unet():
    from diffusers import UNet3DConditionModel

    model = UNet3DConditionModel(
        in_channels=4, out_channels=4, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        cross_attention_dim=8, attention_head_dim=4, down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    )  # fmt: skip
    return model, {
        "sample": torch.randn(2, 4, 3, 8, 8), "timestep": 500, "encoder_hidden_states": torch.randn(2, 5, 8)
    }  # fmt: skip


MODELS = {"wan vace": vace, "ltx-2": ltx2, "flux": flux, "unet": unet}


def made(name):
    torch.manual_seed(0)
    model, given = MODELS[name]()
    with torch.no_grad():
        for parameter in model.parameters():  # nothing stays at a zero that would hide a fault
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval(), given


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("boundary", ["model", "blocks"])
@torch.inference_mode()
def test_computed_is_identical_and_reused_is_equal(name, boundary):
    model, given = made(name)
    plain = model(**given, return_dict=False)
    run, results = cache(plan="crc", boundary=boundary), []
    x = next(iter(given.values()))
    with run.attached(model, torch.linspace(1, 0, 4)) as stage:
        for sigma in (1.0, 0.67, 0.33):
            with stage.call((NEGATIVE, POSITIVE), sigma, x):
                results.append(model(**given, return_dict=False))
    blocks = len(region(model)) if boundary == "blocks" and name != "unet" else 1
    assert stage.gate.runs == 2 * blocks
    assert len(plain) == (2 if name == "ltx-2" else 1)
    for part, one in enumerate(plain):
        assert torch.equal(results[0][part], one) and torch.equal(results[2][part], one)
        assert (results[1][part] - one).norm() / one.norm() < 1e-5


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_a_reused_call_goes_by_its_own_input_behind_the_blocks(name):
    """Every stream is replaced: what a reused call gives does not depend on what ran in it."""
    model, given = made(name)
    run = cache(plan="crc", boundary="model")
    x = next(iter(given.values()))
    with run.attached(model, torch.linspace(1, 0, 4)) as stage:
        with stage.call((POSITIVE,), 1.0, x):
            first = [one.clone() for one in model(**given, return_dict=False)]
        other = {key: one * 2 if torch.is_tensor(one) and one.is_floating_point() and one.ndim > 2 else one
                 for key, one in given.items()}  # fmt: skip
        with stage.call((POSITIVE,), 0.67, x):
            second = model(**other, return_dict=False)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr()
