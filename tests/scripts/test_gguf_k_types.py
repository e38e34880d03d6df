"""K types as the script packs them, read back by the `gguf` package: small errors, odd blocks, all in its place."""

from __future__ import annotations

import numpy
import pytest
import torch

gguf = pytest.importorskip("gguf")

# Type -> (largest relative error of normal numbers, the older type that it must beat).
CODES = {"Q6_K": (0.02, "Q5_1"), "Q5_K": (0.039, "Q5_0"), "Q4_K": (0.076, "Q4_1")}


def read_back(weight, code):
    import gguf_k_types

    stored = gguf_k_types.quantise(weight, code).numpy()
    return torch.from_numpy(gguf.dequantize(stored, gguf.GGMLQuantizationType[code]))


def off(weight, numbers) -> float:
    return float((numbers - weight).norm() / weight.norm())


@pytest.fixture
def dice():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("power", [1, 3])
def test_numbers_of_both_signs(dice, code, power):
    """Those with heavy tails (the cubes) are off by more, as in every format; the older type by more still."""
    weight = 0.03 * torch.randn(64, 512, generator=dice) ** power
    largest, older = CODES[code]
    packed = gguf.quantize(weight.numpy(), gguf.GGMLQuantizationType[older])
    old = torch.from_numpy(gguf.dequantize(packed, gguf.GGMLQuantizationType[older]))
    assert off(weight, read_back(weight, code)) < min(largest * power, off(weight, old))


@pytest.mark.parametrize("code", CODES)
def test_odd_blocks(dice, code):
    assert torch.equal(read_back(torch.zeros(2, 256), code), torch.zeros(2, 256))
    for weight in (
        torch.rand(4, 256, generator=dice) + 1,
        -torch.rand(4, 256, generator=dice) - 1,
        1e4 * torch.randn(2, 256, generator=dice),
        torch.eye(256),
        torch.ones(1, 256),
    ):
        assert off(weight, read_back(weight, code)) < 0.08


@pytest.mark.parametrize("code", CODES)
def test_each_group_keeps_its_scale_and_place(dice, code):
    """Groups of very different sizes, in two blocks to a row: a scale or code in the wrong place would show."""
    sizes = 2.0 ** torch.randint(-3, 4, (6, 32, 1), generator=dice)
    weight = (torch.randn(6, 32, 16, generator=dice) * sizes).flatten(1)
    error = (read_back(weight, code) - weight).unflatten(1, (32, 16)).norm(dim=2)
    assert float((error / weight.unflatten(1, (2, 256)).norm(dim=2).repeat_interleave(16, 1)).max()) < 0.06


def test_numbers_on_the_grid_are_exact():
    """What a block of Q6_K can say exactly comes back exactly."""
    codes = torch.from_numpy(numpy.random.default_rng(0).integers(-31, 32, (3, 16, 16))).float()
    codes[:, :, 0] = 31
    scales = torch.arange(1, 17).float()
    scales[-1] = 127
    weight = (codes * scales.view(1, -1, 1) * 2**-9).flatten(1)
    assert torch.equal(read_back(weight, "Q6_K"), weight)
