"""Scaled fp8 in both of ComfyUI's layouts is multiplied out by the formula; other formats are refused by name."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base.keys import chunk, pieces, rename, swap_halves
from opent2v.base.packed import PackedTensor, unpacked
from opent2v.loaders import ModelFileError, open_container, quantised, tensor_bytes
from opent2v.loaders.quantised import split_header
from opent2v.loaders.weights import fill
from opent2v.tests.loaders import toy_int4
from opent2v.tests.loaders.toy_int4 import ToyInt4

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
    weights, quantisation = split_header(open_container(path))
    assert set(weights) == {*NAMES, "second.bias"}
    assert quantisation.kind == "scaled fp8" and set(quantisation.layers) == set(NAMES)


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
    weights, quantisation = split_header(open_container(path))
    assert (list(weights), quantisation.kind, dict(quantisation.layers)) == (["first.weight"], "fp8", {})


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
    with pytest.raises(ModelFileError, match=r"first\.weight is stored as (U8|I8).*nothing in the file says.*Get this"):
        split_header(open_container(path))


def test_a_scale_without_its_weight_is_damage(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"first.weight_scale": torch.tensor(1.0)}, path)
    with pytest.raises(ModelFileError, match=r"first.weight_scale is there without first.weight"):
        split_header(open_container(path))


@pytest.mark.parametrize(("code", "stored"), [("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2)])
def test_fp8_takes_a_byte_a_number(tmp_path, code, stored):
    save_file({"a": torch.ones(6, 4).to(stored), "b": torch.ones(2)}, tmp_path / "fp8.safetensors")
    header = open_container(tmp_path / "fp8.safetensors").header
    assert header["a"].dtype == code and tensor_bytes(header) == 6 * 4 + 2 * 4


# --- a packed format of the tests' own ---


@pytest.fixture
def int4(monkeypatch):
    """Adding a format is one entry; in the pack it is one file of the folder."""
    monkeypatch.setattr(quantised, "FORMATS", [*quantised.FORMATS, ToyInt4()])


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_a_packed_format_is_found_by_its_marks(int4, tmp_path):
    path = tmp_path / "int4.safetensors"
    toy_int4.write(path, {"first.weight": draw(6, 8), "first.bias": draw(6)})
    header, quantisation = split_header(open_container(path))
    assert {name: info.shape for name, info in header.items()} == {"first.weight": (6, 8), "first.bias": (6,)}
    assert (quantisation.kind, quantisation.stays_packed) == ("toy int4", True)
    assert quantisation.layers["first.weight"].parameters == {"group": toy_int4.GROUP}
    assert tensor_bytes(header) == 6 * 4 + 6 * 2 * 4 + 6 * 4


def test_without_its_format_such_a_file_is_refused(tmp_path):
    path = tmp_path / "int4.safetensors"
    toy_int4.write(path, {"first.weight": draw(6, 8)})
    with pytest.raises(ModelFileError, match=r"first\.weight_scale is there without first\.weight"):
        split_header(open_container(path))


@pytest.mark.parametrize("keeps_packed", [False, True])
def test_packed_rows_go_where_key_rules_send_them(int4, tmp_path, keeps_packed):
    path = tmp_path / "int4.safetensors"
    state = {"qkv.weight": draw(24, 8), "qkv.bias": draw(24), "last.weight": draw(4, 8), "last.bias": draw(4)}
    state |= {"one.weight": draw(6, 8), "two.weight": draw(6, 16)}
    exact = toy_int4.write(path, state)
    rules = [
        rename("^qkv", *(f"to_{n}" for n in "qkv"), split=chunk(3)),
        rename("^last", "final", split=swap_halves),
        rename("^one", "both", place=0),
        rename("^two", "both", place=1),
    ]
    built = torch.nn.ModuleDict({f"to_{n}": torch.nn.Linear(8, 8) for n in "qkv"})
    built.update({"final": torch.nn.Linear(8, 4), "both": torch.nn.Linear(24, 6, bias=False)})
    fill(built, (path,), rules=rules, dtype=torch.float32, keeps_packed=keeps_packed)
    for n, whole in zip("qkv", exact["qkv.weight"].chunk(3), strict=True):
        held = built.get_parameter(f"to_{n}.weight")
        assert isinstance(held, PackedTensor) == keeps_packed and torch.equal(unpacked(held, torch.float32), whole)
    first, second = exact["last.weight"].chunk(2)
    assert torch.equal(unpacked(built["final"].weight, torch.float32), torch.cat([second, first]))
    # Columns of two layers are no rows of one: they are multiplied out.
    assert torch.equal(built["both"].weight, torch.cat([exact["one.weight"], exact["two.weight"]], 1))


class ScaledEmbedding(torch.nn.Embedding):
    """As Gemma's: a class of its own, which hosts cannot switch to theirs."""


def test_linear_layers_and_embeddings_hold_packed_weights(int4, tmp_path):
    path = tmp_path / "int4.safetensors"
    names = ("words.weight", "layer.weight", "scaled.weight")
    exact = toy_int4.write(path, {name: draw(6, 8) for name in names})
    layers = {"words": torch.nn.Embedding(6, 8), "layer": torch.nn.Linear(8, 6, bias=False)}
    built = torch.nn.ModuleDict({**layers, "scaled": ScaledEmbedding(6, 8)})
    fill(built, (path,), dtype=torch.bfloat16, keeps_packed=True)
    for name in names:
        weight = built.get_parameter(name)
        assert weight.dtype == torch.bfloat16 and torch.equal(weight.detach() + 0, exact[name].bfloat16())
        assert isinstance(weight, PackedTensor) == (name != "scaled.weight")
