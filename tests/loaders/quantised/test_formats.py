"""Every packed format by the same questions: its numbers, rows, pieces, and models of three families.

Tests: loaders/quantised, loaders/weights.py
"""

from __future__ import annotations

import pytest
import torch

from opent2v.base.keys import chunk, pieces, rename, swap_halves
from opent2v.base.packed import PackedTensor, PackedWeight, unpacked
from opent2v.loaders import load_model, open_container, open_file, quantised
from opent2v.loaders.quantised import pieces as piecewise
from opent2v.loaders.quantised import read_layer, split_header
from opent2v.loaders.weights import fill
from opent2v.tests.tiny import packed, packed_models

KINDS = packed.kinds()


def drawn(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows + columns))


def apart(weight: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest difference, as a part of the largest number."""
    return ((weight - exact).abs().max() / exact.abs().max()).item()


def stored(tmp_path, kind, rows=160, columns=256) -> tuple[PackedWeight, torch.Tensor]:
    """(one layer as its file has it, its numbers)."""
    path = tmp_path / f"{kind}.safetensors"
    exact = packed.write(path, {"layer.weight": drawn(rows, columns)}, kind)
    file = open_container(path)
    with file.tensors() as read:
        weight = read_layer(split_header(file)[1].layers["layer.weight"], read)
    return weight, exact["layer.weight"]


@pytest.mark.parametrize("marks", ["tensors", "metadata"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_told_by_its_mark(tmp_path, kind, marks):
    layout, name, _ = packed.KINDS[kind]
    path = tmp_path / "any.safetensors"
    packed.write(path, {"a.weight": drawn(128, 64), "a.bias": drawn(1, 128)[0]}, kind, "model.", marks)
    header, quantisation = split_header(open_container(path))
    assert {name: info.shape for name, info in header.items()} == {"model.a.weight": (128, 64), "model.a.bias": (128,)}
    layer = quantisation.layers["model.a.weight"]
    assert (layer.format.name, quantisation.kind) == (name, name)
    assert layer.format.layout == ("" if layout == "awq_w4a16" else layout)
    assert dict(layer.parameters) == packed.settings_of(kind, 64)
    assert layer.names == {role: f"model.a.{role}" for role in packed.pack(drawn(128, 64), kind)}


@pytest.mark.parametrize("shape", [(160, 256), (32, 64), (416, 768)])
@pytest.mark.parametrize("kind", KINDS)
def test_its_numbers_are_those_of_a_plain_decoder(tmp_path, kind, shape):
    weight, exact = stored(tmp_path, kind, *shape)
    numbers = weight.dequantise(torch.float32)
    assert numbers.shape == shape and numbers.dtype == torch.float32
    assert apart(numbers, exact) <= 1e-6
    assert torch.equal(weight.dequantise(torch.bfloat16), numbers.bfloat16())
    assert (numbers - drawn(*shape)).norm() / drawn(*shape).norm() < 0.2


@pytest.mark.parametrize("shape", [(160, 256), (128, 64)])
@pytest.mark.parametrize("kind", KINDS)
def test_its_numbers_are_comfy_kitchens_bit_for_bit(tmp_path, kind, shape):
    pytest.importorskip("comfy_kitchen")
    from opent2v.tests.loaders.quantised.kitchen import dequantised

    weight, _ = stored(tmp_path, kind, *shape)
    assert torch.equal(weight.dequantise(torch.float32), dequantised(weight, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_a_piece_changes_no_bit(tmp_path, kind, monkeypatch):
    weight, _ = stored(tmp_path, kind)
    whole = weight.dequantise(torch.float32)
    for rows in (1, 7, 100):
        monkeypatch.setattr(piecewise, "_CPU", rows * 256)
        assert torch.equal(weight.dequantise(torch.float32), whole)


INDICES = {
    "a third": torch.arange(53, 106),
    "a tile": torch.arange(128, 160),
    "swapped halves": torch.cat([torch.arange(80, 160), torch.arange(80)]),
    "every other": torch.arange(0, 160, 2),
    "few, repeated": torch.tensor([159, 5, 5, 0]),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_it_are_rows_of_its_numbers(tmp_path, kind, index):
    weight, _ = stored(tmp_path, kind)
    some = weight.rows(index)
    assert some.shape == (len(index), 256) and some.tensors.keys() == weight.tensors.keys()
    assert torch.equal(some.dequantise(torch.float32), weight.dequantise(torch.float32)[index])


@pytest.mark.parametrize("kind", KINDS)
def test_key_rules_that_split_and_swap_are_exact(tmp_path, kind):
    path = tmp_path / "any.safetensors"
    state = {"qkv.weight": drawn(480, 256), "mlp.weight": drawn(224, 64), "last.weight": drawn(64, 64)}
    exact = packed.write(path, state, kind)
    rules = [
        rename("^qkv", *(f"to_{n}" for n in "qkv"), split=chunk(3)),
        rename("^mlp", "up", "gate", split=pieces(96, -1)),
        rename("^last", "final", split=swap_halves),
    ]
    module = torch.nn.ModuleDict({f"to_{n}": torch.nn.Linear(256, 160, bias=False) for n in "qkv"})
    module.update({name: torch.nn.Linear(64, rows, bias=False) for name, rows in (("up", 96), ("gate", 128))})
    module.update({"final": torch.nn.Linear(64, 64, bias=False)})
    fill(module, (path,), rules=rules, dtype=torch.float32, keeps_packed=True)
    assert all(isinstance(weight, PackedTensor) for weight in module.parameters())
    whole = {name: exact[f"{name}.weight"] for name in ("qkv", "mlp", "last")}
    expected = dict(zip(("to_q", "to_k", "to_v"), whole["qkv"].chunk(3), strict=True))
    expected |= {"up": whole["mlp"][:96], "gate": whole["mlp"][96:], "final": whole["last"].roll(32, 0)}
    for name, numbers in expected.items():
        assert apart(unpacked(module[name].weight, torch.float32), numbers) <= 1e-6, name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", packed_models.FAMILIES)
def test_a_model_has_the_numbers_of_its_file(tmp_path, family, kind):
    """The same weights, held packed, multiplied out while they are read, and from a plain file."""
    exact = packed.write(tmp_path / "packed.safetensors", packed_models.state(family), kind)
    packed.write(tmp_path / "plain.safetensors", exact, "")
    plain = load_model(open_file(tmp_path / "plain.safetensors"), torch.float32)
    for keeps_packed in (True, False):
        model = load_model(open_file(tmp_path / "packed.safetensors"), torch.float32, keeps_packed=keeps_packed)
        held = dict(model.transformer.named_parameters())
        is_kept = sum(isinstance(weight, PackedTensor) for weight in held.values())
        assert is_kept >= 14 if keeps_packed else is_kept == 0
        for name, weight in plain.transformer.named_parameters():
            assert apart(unpacked(held[name], torch.float32), weight) <= 1e-6, name


def test_a_file_of_many_formats(tmp_path):
    """Converters leave layers of odd sizes in another format, or plain."""
    path = tmp_path / "mixed.safetensors"
    names = [f"{kind}.weight" for kind in (*KINDS, "plain")]
    state = {name: drawn(64, 128) for name in names}
    exact = packed.write(path, state, lambda name: name.removesuffix(".weight").replace("plain", ""))
    _, quantisation = split_header(open_container(path))
    assert len(quantisation.layers) == len(KINDS)
    assert set(quantisation.kind.split(" and ")) == {name for _, name, _ in packed.KINDS.values()}
    module = torch.nn.ModuleDict({name.removesuffix(".weight"): torch.nn.Linear(128, 64, bias=False) for name in names})
    fill(module, (path,), dtype=torch.float32, keeps_packed=True)
    for name in names:
        assert apart(unpacked(module.get_parameter(name), torch.float32), exact[name]) <= 1e-6, name


def test_every_format_is_tried_here():
    layouts = {layout for layout, _, _ in packed.KINDS.values()}
    assert {packed_format.layout for packed_format in quantised.FORMATS if packed_format.layout} <= layouts
