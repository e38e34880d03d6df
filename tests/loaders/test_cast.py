"""Conversion piece by piece gives, bit for bit, what torch gives at once."""

from __future__ import annotations

import pytest
import torch

from opent2v.base.storage import FP8
from opent2v.loaders import cast as module
from opent2v.loaders.cast import cast, widen


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 100)


def bits(tensor):
    return tensor.contiguous().view(torch.uint8)


@pytest.mark.parametrize("dtype", FP8)
def test_every_fp8_number_is_widened_exactly(dtype):
    numbers = torch.arange(256, dtype=torch.uint8).view(dtype)
    finite = numbers[numbers.float().isfinite()]
    for kind in (numbers, finite):
        wide = widen(kind)
        assert wide.dtype == torch.float32
        assert torch.equal(wide.nan_to_num(nan=1e9), kind.float().nan_to_num(nan=1e9))
        assert torch.equal(wide.signbit(), kind.float().signbit())


@pytest.mark.parametrize("target", FP8)
@pytest.mark.parametrize("source", [torch.float32, torch.bfloat16, torch.float16])
def test_rounding_to_fp8_is_torchs(source, target):
    torch.manual_seed(0)
    # All sizes that fp8 has, and those too small for it.
    tensor = (torch.randn(300, 7) * 2.0 ** torch.randint(-20, 6, (300, 7))).to(source)
    assert torch.equal(bits(cast(tensor, target)), bits(tensor.to(target)))


@pytest.mark.parametrize("scale", [torch.tensor(0.003), torch.rand(301) + 0.1])
@pytest.mark.parametrize("target", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_a_scale_is_multiplied_in_fp32_before_rounding(scale, target):
    torch.manual_seed(0)
    tensor = torch.randn(301, 3, 2).to(torch.float8_e4m3fn)
    column = scale if scale.ndim == 0 else scale[:, None, None]
    assert torch.equal(bits(cast(tensor, target, scale)), bits((tensor.float() * column).to(target)))


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (3, 0), (1, 1000), (1000,)])
def test_every_shape_comes_back(shape):
    tensor = torch.ones(shape)
    found = cast(tensor, torch.bfloat16)
    assert found.shape == shape and torch.equal(found, tensor.bfloat16())


def test_never_more_than_a_piece_is_widened_at_a_time(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "widen", lambda piece: seen.append(piece.numel()) or widen(piece))
    cast(torch.ones(305, 10).to(torch.float8_e4m3fn), torch.bfloat16, torch.tensor(2.0))
    assert seen == [100] * 30 + [50]


def test_nothing_is_copied_where_nothing_changes():
    tensor = torch.ones(3)
    assert cast(tensor, torch.float32) is tensor


def test_a_number_too_large_is_found_in_the_last_piece():
    tensor = torch.ones(300, 2)
    tensor[-1, -1] = -70000
    with pytest.raises(OverflowError, match=r"holds 70000, more than torch.float16 can \(65504\)"):
        cast(tensor, torch.float16)
    assert cast(tensor, torch.bfloat16)[-1, -1] == tensor.bfloat16()[-1, -1]
