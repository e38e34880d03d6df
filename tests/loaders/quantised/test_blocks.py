"""Matrices whose sizes are no whole tiles: converters pad them, and their numbers end where the layer ends."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from opent2v.base.keys import rename, squeeze_last
from opent2v.base.packed import PackedTensor
from opent2v.loaders import open_container
from opent2v.loaders.quantised import read_layer, split_header
from opent2v.loaders.weights import fill
from opent2v.tests.tiny import packed

STEPS = {"nvfp4": 16, "nvfp4_awq": 16, "mxfp8": 32}


def padded(kind, rows, columns):
    """(tensors of a layer, its numbers)."""
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))
    missing = [-size % STEPS[kind] for size in (columns, rows)]
    parts = packed.pack(functional.pad(weight, (0, missing[0], 0, missing[1])), kind)
    exact = packed.numbers(parts, kind)[:rows, :columns]
    if "pre_quant_scale" in parts:
        parts["pre_quant_scale"] = parts["pre_quant_scale"][:columns].clone()
    return parts, exact


def header_and_layer(path, parts, settings=None, bias=None):
    layout = "nvfp4" if "weight_scale_2" in parts else "mxfp8"
    tensors = {f"a.{role}": part for role, part in parts.items()}
    tensors["a.comfy_quant"] = packed.mark({"format": layout, **(settings or {})})
    if bias is not None:
        tensors["a.bias"] = torch.zeros(bias)
    save_file(tensors, path)
    file = open_container(path)
    header, quantisation = split_header(file)
    with file.tensors() as read:
        return header, read_layer(quantisation.layers["a.weight"], read)


@pytest.mark.parametrize(("rows", "columns"), [(100, 72), (130, 264)])
@pytest.mark.parametrize("kind", STEPS)
def test_a_stated_shape_cuts_the_padding_off(tmp_path, kind, rows, columns):
    parts, exact = padded(kind, rows, columns)
    header, weight = header_and_layer(tmp_path / "a.safetensors", parts, {"orig_shape": [rows, columns]})
    assert header["a.weight"].shape == weight.shape == (rows, columns)
    numbers = weight.dequantise(torch.float32)
    assert (numbers - exact).abs().max() <= 1e-6 * exact.abs().max()
    index = torch.tensor([99, 3, 64, 64])
    assert torch.equal(weight.rows(index).dequantise(torch.float32), numbers[index])


@pytest.mark.parametrize("kind", STEPS)
def test_a_bias_shows_the_number_of_rows(tmp_path, kind):
    parts, exact = padded(kind, 100, 64)
    header, weight = header_and_layer(tmp_path / "a.safetensors", parts, bias=100)
    assert header["a.weight"].shape == (100, 64)
    assert (weight.dequantise(torch.float32) - exact).abs().max() <= 1e-6 * exact.abs().max()


def test_rows_are_padded_as_converters_pad_them(tmp_path):
    parts, _ = padded("nvfp4", 64, 64)
    _, weight = header_and_layer(tmp_path / "a.safetensors", parts)
    some = weight.rows(torch.arange(20))
    assert some.tensors["weight"].shape == (32, 32) and some.tensors["weight_scale"].shape == (128, 4)
    assert not some.tensors["weight"][20:].any() and weight.rows(torch.arange(0)).dequantise(torch.float32).numel() == 0


def test_a_convolution_over_one_position_is_multiplied_out(tmp_path):
    """Hosts hold stored matrices; a kernel of three axes in a linear layer is none."""
    stored = torch.randint(-127, 127, (6, 8, 1), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    scale = torch.rand(6, 1, 1) + 0.1
    mark = packed.mark({"format": "int8_tensorwise"})
    path = tmp_path / "conv.safetensors"
    save_file({"a.weight": stored, "a.weight_scale": scale, "a.comfy_quant": mark}, path)
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(8, 6, bias=False)})
    fill(module, (path,), rules=[rename("^a", "a", split=squeeze_last)], dtype=torch.float32, keeps_packed=True)
    assert not isinstance(module["a"].weight, PackedTensor)
    assert torch.equal(module["a"].weight, (stored.float() * scale).squeeze(-1))
