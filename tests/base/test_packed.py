"""A packed weight shows its numbers' shape, gives its numbers, and never loses a change that is written into it."""

from __future__ import annotations

import copy

import pytest
import torch

from opent2v.base import packed as packed_module
from opent2v.base.packed import PackedTensor, PackedWeight, linear, looked_up, take_rows, unpacked
from opent2v.tests.loaders.toy_int4 import GROUP, ToyInt4, pack


def hold():
    """(a parameter that holds a packed weight [6, 8] as bf16, its numbers in fp32)."""
    tensors, exact = pack(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)))
    packed = PackedWeight(ToyInt4(), (6, 8), tensors, {"group": GROUP})
    return torch.nn.Parameter(PackedTensor(packed, torch.bfloat16), requires_grad=False), exact


@pytest.fixture
def held():
    return hold()


def test_from_outside_it_is_the_weight(held):
    weight, exact = held
    assert isinstance(weight, torch.nn.Parameter) and isinstance(weight, PackedTensor)
    assert (tuple(weight.shape), weight.dtype, weight.numel()) == ((6, 8), torch.bfloat16, 48)
    assert weight.nbytes == 6 * 4 + 6 * 2 * 4
    assert repr(weight.data) == "PackedTensor(toy int4, [6, 8], torch.bfloat16)"
    assert torch.equal(unpacked(weight, torch.float32), exact)
    assert torch.equal(unpacked(exact, torch.bfloat16), exact.bfloat16())


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_operations_get_the_numbers(mode):
    with mode():
        weight, exact = hold()
        x = torch.randn(3, 8)
        assert torch.equal(torch.nn.functional.linear(x, weight.to(torch.float32)), x @ exact.T)
        assert torch.equal(torch.cat([weight, weight]), torch.cat([exact, exact]).bfloat16())
        assert torch.equal(weight[2:4], exact[2:4].bfloat16())


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 8)])
def test_a_large_one_is_multiplied_in_pieces_of_rows(monkeypatch, shape):
    tensors, exact = pack(torch.randn(300, 8, generator=torch.Generator().manual_seed(0)))
    packed = PackedWeight(ToyInt4(), (300, 8), tensors, {"group": GROUP})
    weight, bias, x = PackedTensor(packed, torch.bfloat16), torch.randn(300), torch.randn(shape)
    sizes = []
    whole = packed_module.PackedWeight.dequantise
    monkeypatch.setattr(packed_module, "_PIECE", 1024)
    monkeypatch.setattr(PackedWeight, "dequantise", lambda self, dtype: sizes.append(self.shape) or whole(self, dtype))
    for given_bias in (bias, None):
        expected = torch.nn.functional.linear(x, exact, given_bias)
        assert (linear(x, weight, given_bias) - expected).abs().max() < 1e-5
        assert torch.equal(linear(x, exact, given_bias), expected)
    assert sizes == [(128, 8), (128, 8), (44, 8)] * 2


@pytest.mark.parametrize("ids", [[[4, 0, 4], [2, 2, 5]], [[0]], [[]]])
def test_an_embedding_reads_rows_of_it(held, ids):
    weight, exact = held
    ids = torch.tensor(ids, dtype=torch.int64)
    for stored in (weight, exact):
        rows = looked_up(stored, ids, torch.float32)
        assert torch.equal(rows, exact[ids]) and rows.dtype == torch.float32


def test_moving_and_copying_leaves_it_packed(held):
    weight, exact = held
    for other in (weight.to(torch.float16), weight.detach(), weight.clone(), copy.deepcopy(weight)):
        assert isinstance(other, PackedTensor) and torch.equal(unpacked(other, torch.float32), exact)
    assert weight.to(torch.float16).dtype == torch.float16
    assert isinstance(copy.deepcopy(weight), torch.nn.Parameter)
    assert copy.deepcopy(weight).packed.tensors["scale"] is not weight.packed.tensors["scale"]
    assert weight.to("meta").packed.tensors["weight"].device.type == "meta"


def test_it_is_copied_into_a_place_like_it(held):
    """As the host brings a weight to a device."""
    weight, exact = held
    place = torch.empty_like(weight, dtype=torch.float32).copy_(weight)
    assert isinstance(place, PackedTensor) and torch.equal(unpacked(place, torch.float32), exact)
    assert torch.equal(torch.empty(6, 8).copy_(weight), exact.bfloat16().float())  # it is read here, not written


def test_a_module_with_one_is_moved_and_saved_by_name(held):
    weight, exact = held
    layer = torch.nn.Linear(8, 6)
    layer.weight = weight
    layer.to(torch.float32)
    assert isinstance(layer.weight, PackedTensor) and torch.equal(layer(exact), exact @ exact.T + layer.bias)
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_writing_into_it_is_refused(held):
    weight, _ = held
    with pytest.raises(TypeError, match="would write into a packed weight"):
        weight.add_(1)
    with pytest.raises(TypeError, match="would write into a packed weight"):
        weight.copy_(torch.zeros(6, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.float8_e4m3fn])
@pytest.mark.parametrize("index", [[1, 2, 3], [3, 0, 2], [], [2]])
def test_rows_of_any_dtype(dtype, index):
    tensor = torch.arange(8.0).reshape(4, 2).to(dtype)
    taken = take_rows(tensor, torch.tensor(index, dtype=torch.int64))
    assert taken.dtype == dtype and taken.float().tolist() == [tensor[n].float().tolist() for n in index]
