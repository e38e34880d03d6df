"""What a host is told a run will take, against the tensors that were really alive.

Large models are built and run with fake tensors: every operation, shape and lifetime is real, only the numbers are not.
Attention is the fused kind, as on a GPU; its matrix of weights never exists. Measured on 2026-11-21 with torch 2.13 and
diffusers 0.42, MiB alive / MiB told:

    Wan 1.3B bf16, 832 x 480, 81 frames     1541 / 1850    14B, the same      3570 / 4300
    Wan 14B bf16, 1280 x 720, 81 frames     8214 / 9920    TI2V 5B, own size  2165 / 2630
    Wan 2.1 VAE bf16, 832 x 480, 81 frames: decode 4048 / 5626, encode 3024 / 3994
    Wan 2.2 VAE bf16, 1280 x 704, 17 frames: decode 9329 / 12722, encode 3393 / 4556

What is told is more, since a GPU's library takes work space that is no tensor.

Tests: base/variant.py, base/units.py
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from opent2v.families import wan
from opent2v.tests.live import peak_bytes

from ..families.layouts.wan import VAE, VAE_22, WAN_5B, configs

SIZES = {"1.3B": {}, "14B": {"num_attention_heads": 40, "ffn_dim": 13824}, "5B": WAN_5B}
MID = {"num_attention_heads": 2, "ffn_dim": 1024}


@cache
def _fake() -> FakeTensorMode:
    return FakeTensorMode(allow_non_fake_inputs=True)


def _told_against_alive(kind: dict, shape: tuple[int, ...], dtype: torch.dtype, is_fake: bool) -> float:
    from diffusers import WanTransformer3DModel

    changed = configs(kind, VAE_22 if kind.get("in_channels") == 48 else VAE)
    plain = {k: v for k, v in changed["transformer"].items() if k != "image_dim"} | {"num_layers": 2}
    variant = wan.read(changed)
    with _fake() if is_fake else nullcontext():
        torch.set_default_dtype(dtype)
        module = WanTransformer3DModel(**plain).eval()
        torch.set_default_dtype(torch.float32)
        x = torch.empty(shape[0], plain["in_channels"], *shape[1:], dtype=dtype)
        tokens = 512 if is_fake else 16  # beside a small video, 512 words would be most of it
        t, context = torch.ones(shape[0]) * 500, torch.empty(shape[0], tokens, 4096, dtype=dtype)
        alive = peak_bytes(lambda: wan.predict(variant, module, x, t, {"context": context}), module)
    return variant.sample_memory(tuple(x.shape), dtype.itemsize) / alive


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("1.3B", (1, 21, 60, 104)),
        ("1.3B", (2, 9, 32, 32)),
        ("14B", (1, 21, 60, 104)),
        ("14B", (1, 21, 90, 160)),
        ("5B", (1, 31, 44, 80)),
    ],
)
def test_a_run_of_the_published_transformers(name, shape):
    assert 1.0 < _told_against_alive(SIZES[name], shape, torch.bfloat16, True) < 1.5


@pytest.mark.parametrize("shape", [(1, 5, 40, 40), (1, 9, 40, 40), (2, 5, 40, 40)])
def test_a_run_with_real_numbers(shape):
    assert 1.0 < _told_against_alive(MID, shape, torch.float32, False) < 1.5


def test_fp32_takes_twice_what_bf16_takes():
    shape = (1, 9, 32, 32)
    assert 1.0 < _told_against_alive(SIZES["1.3B"], shape, torch.float32, True) < 1.5


def _vae(config: dict, dtype: torch.dtype):
    from diffusers import AutoencoderKLWan

    channels = config["z_dim"]
    further = {"in_channels": 12, "out_channels": 12} if channels == 48 else {}
    torch.set_default_dtype(dtype)
    module = AutoencoderKLWan(**config, **further).eval()
    torch.set_default_dtype(torch.float32)
    return module


@pytest.mark.parametrize(
    ("config", "latent", "is_fake"),
    [
        (VAE, (1, 1, 60, 104), True),
        (VAE, (1, 3, 60, 104), True),
        (VAE, (2, 2, 20, 20), True),
        (VAE_22, (1, 1, 44, 80), True),
        (VAE_22, (1, 2, 44, 80), True),
        (VAE | {"base_dim": 16}, (1, 3, 8, 8), False),
    ],
)
def test_the_vaes(config, latent, is_fake):
    dtype = torch.float32 if not is_fake else torch.bfloat16
    batch, frames, height, width = latent
    kind = WAN_5B if config["z_dim"] == 48 else {}
    variant = wan.read(configs(kind, config))
    spatial = variant.geometry.spatial
    with _fake() if is_fake else nullcontext():
        module = _vae(config, dtype)
        z = torch.empty(batch, config["z_dim"], frames, height, width, dtype=dtype)
        video = torch.empty(batch, 3, variant.geometry.frames(frames), height * spatial, width * spatial, dtype=dtype)
        decoding = peak_bytes(lambda: wan.decode(module, z, 0), module)
        encoding = peak_bytes(lambda: wan.encode(module, video), module)
    assert 1.0 < variant.decode_memory(tuple(z.shape), dtype.itemsize) / decoding < 1.6
    assert 1.0 < variant.encode_memory(tuple(video.shape), dtype.itemsize) / encoding < 1.6
