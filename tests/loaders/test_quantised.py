"""Scaled fp8 in both of ComfyUI's layouts is multiplied out by the formula; other formats are refused by name."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base.keys import pieces, rename
from opent2v.loaders import ModelFileError, read_header
from opent2v.loaders.quantised import split_header
from opent2v.loaders.weights import fill

NAMES = ("first.weight", "second.weight")


def module():
    return torch.nn.ModuleDict({"first": torch.nn.Linear(4, 6, bias=False), "second": torch.nn.Linear(6, 2)})


def quantise(weight, scale):
    return (weight / scale).to(torch.float8_e4m3fn)


@pytest.fixture(params=["old", "new", "rows"])
def stored(request, tmp_path):
    """(path, what the weights are by the formula weight * scale)."""
    torch.manual_seed(0)
    scales = {"first": torch.tensor(0.02), "second": torch.tensor(0.5)}
    if request.param == "rows":
        scales = {"first": torch.rand(6) + 0.1, "second": torch.rand(2) + 0.1}
    tensors, expected = {"second.bias": torch.ones(2, dtype=torch.bfloat16)}, {}
    for name, shape in (("first", (6, 4)), ("second", (2, 6))):
        scale = scales[name]
        column = scale if scale.ndim == 0 else scale[:, None]
        small = quantise(torch.randn(shape), column)
        tensors[f"{name}.weight"] = small
        expected[f"{name}.weight"] = small.float() * column
        tensors[f"{name}.{'scale_weight' if request.param == 'old' else 'weight_scale'}"] = scale
        if request.param == "old":
            tensors[f"{name}.scale_input"] = torch.tensor(1.0)
        else:
            conf = json.dumps({"format": "float8_e4m3fn"}).encode()
            tensors[f"{name}.comfy_quant"] = torch.tensor(list(conf), dtype=torch.uint8)
    if request.param == "old":
        tensors["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors", expected


def test_the_header_without_scales_is_the_models_own(stored):
    path, _ = stored
    weights, quantisation = split_header(read_header(path), path)
    assert set(weights) == {*NAMES, "second.bias"}
    assert quantisation.kind == "scaled fp8" and set(quantisation.scales) == set(NAMES)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_weights_are_multiplied_out_bit_for_bit(stored, dtype):
    path, expected = stored
    built = fill(module(), (path,), dtype=dtype)
    for name in NAMES:
        assert torch.equal(built.get_parameter(name), expected[name].to(dtype or torch.float32))


def test_scales_of_rows_are_split_with_the_rows(stored):
    path, expected = stored
    parts = torch.nn.ModuleDict({"q": torch.nn.Linear(4, 2, bias=False), "k": torch.nn.Linear(4, 4, bias=False)})
    holder = torch.nn.ModuleDict({"parts": parts, "second": torch.nn.Linear(6, 2)})
    fill(holder, (path,), rules=[rename("^first", "parts.q", "parts.k", split=pieces(2, 4))])
    found = torch.cat([holder.get_parameter("parts.q.weight"), holder.get_parameter("parts.k.weight")])
    assert torch.equal(found, expected["first.weight"])


def test_plain_fp8_keeps_its_numbers(tmp_path):
    path = tmp_path / "plain.safetensors"
    save_file({"first.weight": torch.ones(6, 4).to(torch.float8_e5m2)}, path)
    weights, quantisation = split_header(read_header(path), path)
    assert (list(weights), quantisation.kind, dict(quantisation.scales)) == (["first.weight"], "fp8", {})


@pytest.mark.parametrize(
    ("weight", "scale"),
    [
        (torch.zeros(6, 2, dtype=torch.uint8), torch.zeros(6, 1).to(torch.float8_e4m3fn)),  # nvfp4
        (torch.zeros(6, 4, dtype=torch.int8), torch.tensor(1.0)),
    ],
)
def test_other_formats_are_refused_by_name(tmp_path, weight, scale):
    path = tmp_path / "other.safetensors"
    save_file({"first.weight": weight, "first.weight_scale": scale}, path)
    with pytest.raises(ModelFileError, match=r"first\.weight is stored as (U8|I8).*cannot read.*bf16, fp16 or fp8"):
        split_header(read_header(path), path)


def test_a_scale_without_its_weight_is_damage(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"first.weight_scale": torch.tensor(1.0)}, path)
    with pytest.raises(ModelFileError, match=r"first.weight_scale is there without first.weight"):
        split_header(read_header(path), path)
