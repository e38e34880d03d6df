"""A file with packed weights through the nodes: named, held as stored, computed, and changed by a LoRA beside it."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base.packed import PackedTensor, unpacked
from opent2v.host import embedded
from opent2v.host.fingerprint import of_weights
from opent2v.loaders import quantised
from opent2v.nodes.doctor import report
from opent2v.tests.loaders import toy_int4
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import mochi as tiny_mochi

QUERY = "transformer_blocks.0.attn1.to_q"


@pytest.fixture
def exact(tmp_path, monkeypatch):
    """models/ with small.safetensors, its numbers in plain.safetensors, and a LoRA; the numbers."""
    monkeypatch.setattr(quantised, "FORMATS", [*quantised.FORMATS, toy_int4.ToyInt4()])
    embedded.configure(models=tmp_path, output=tmp_path / "output")
    for name in ("diffusion_models", "loras"):
        (tmp_path / name).mkdir()
    exact = toy_int4.write(tmp_path / "diffusion_models/small.safetensors", tiny_mochi.transformer().state_dict())
    save_file(exact, tmp_path / "diffusion_models/plain.safetensors")
    rows, columns = exact[f"{QUERY}.weight"].shape
    dice = torch.Generator().manual_seed(0)
    lora = {"lora_A": torch.randn(2, columns, generator=dice), "lora_B": torch.randn(rows, 2, generator=dice)}
    save_file({f"transformer.{QUERY}.{k}.weight": v for k, v in lora.items()}, tmp_path / "loras/one.safetensors")
    return exact


def load(file, dtype="auto"):
    results, ui = call("OpenT2VLoadDiffusionModel", file=file, dtype=dtype)
    return results[0], remarks(ui).partition("\nMemory: ")[0]


@torch.inference_mode()
def predicted(model):
    dice = torch.Generator().manual_seed(1)
    x, context = torch.randn(1, 12, 3, 4, 4, generator=dice), torch.randn(1, 24, 16, generator=dice)
    with model.changed():
        conditions = model.part.conditions({"cross_attn": context}, tuple(x.shape))
        return model.part.predict(x, torch.tensor([500.0]), conditions)


def apart(one, other):
    """The largest difference; where a sum's numbers lie in memory decides its last digits."""
    return (one - other).abs().max().item()


def test_it_is_held_as_stored_and_computes_what_its_numbers_do(exact):
    (model, said), (plain, _) = load("small.safetensors"), load("plain.safetensors")
    assert re.fullmatch(
        r"Mochi 1, diffusers layout, stored as toy int4 0\.\d MiB, \d+ layers; fp32 0\.\d MiB\n"
        r"toy int4: each layer is multiplied out while it computes",
        said,
    )
    held = model.part.transformer.get_parameter(f"{QUERY}.weight")
    assert isinstance(held, PackedTensor) and torch.equal(unpacked(held, torch.float32), exact[f"{QUERY}.weight"])
    assert model.dtype == torch.float32
    assert apart(predicted(model), predicted(plain)) < 1e-5


def test_a_dtype_of_the_users_multiplies_it_out(exact):
    model, said = load("small.safetensors", "bf16")
    assert said == "Mochi 1, diffusers layout, stored as bfloat16 from toy int4"
    weight = model.part.transformer.get_parameter(f"{QUERY}.weight")
    assert not isinstance(weight, PackedTensor) and torch.equal(weight, exact[f"{QUERY}.weight"].bfloat16())


def test_a_lora_is_computed_beside_it(exact):
    (model, _), (plain, _) = load("small.safetensors"), load("plain.safetensors")
    results, _ = call("OpenT2VLoadLora", model=model, lora="one.safetensors")
    by_hand, _ = call("OpenT2VLoadLora", model=plain, lora="one.safetensors")
    assert results[2].splitlines()[-1] == (
        "Applied while the model computes, in its computing precision; the toy int4 weights stay as they are"
    )
    assert apart(predicted(results[0]), predicted(by_hand[0])) < 1e-5
    assert apart(predicted(results[0]), predicted(model)) > 0.01
    assert isinstance(model.part.transformer.get_parameter(f"{QUERY}.weight"), PackedTensor)


def test_the_doctor_names_it(exact, tmp_path):
    lines = report(tmp_path / "diffusion_models/small.safetensors")
    assert lines[1] == "Mochi 1 transformer, diffusers layout, toy int4"
    assert lines[2].startswith("Stored as toy int4 0.") and lines[3].startswith("toy int4: each layer is multiplied")
    assert lines[-1].startswith("Memory: 0.")


def test_its_fingerprint_is_of_what_is_stored(exact):
    module = load("small.safetensors")[0].part.transformer
    weights = dict(module.named_parameters())
    before = of_weights(weights)
    assert of_weights({name: weight.to(torch.float16) for name, weight in weights.items()}) != before
    name = sorted(name for name, weight in weights.items() if isinstance(weight, PackedTensor))[0]
    changed = weights[name].clone()
    changed.packed.tensors["scale"].mul_(2)
    assert of_weights({name: weights[name].to(torch.float16)}) == of_weights({name: weights[name]})
    assert of_weights({name: changed}) != of_weights({name: weights[name]})
