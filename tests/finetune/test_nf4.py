"""A base in 4 bits by bitsandbytes: its numbers, its size, and the gradients of a LoRA beside it.

Tests: finetune/nf4.py
"""

from __future__ import annotations

import copy
import sys

import pytest
import torch

from opent2v.base.packed import PackedTensor, unpacked
from opent2v.finetune import nf4
from opent2v.finetune.adapter import Adapter, trained_layers
from opent2v.finetune.errors import MissingTrainer
from opent2v.finetune.objective import Sample, draw_noise, losses
from opent2v.finetune.order import generator_of
from opent2v.finetune.settings import LAYERS
from opent2v.host import embedded
from opent2v.loaders import load_model, open_file
from opent2v.tests.tiny import packed, packed_models


def part_of(tmp_path):
    packed.write(tmp_path / "plain.safetensors", packed_models.state("wan"), "")
    return load_model(open_file(tmp_path / "plain.safetensors"), torch.float32, keeps_packed=False)


def gradients(part) -> tuple[float, dict[str, torch.Tensor]]:
    model = embedded.training_model(embedded.model(part))
    adapter = Adapter(part.transformer, trained_layers(part.transformer, LAYERS[0]), 4, 1.0, seed=0)
    for name, weight in adapter.weights.items():
        if "lora_B" in name:
            weight.data.normal_(std=0.1, generator=generator_of(name))
    generator = generator_of(0)
    clean = torch.randn(packed_models.LATENT["wan"], generator=generator)
    sample = Sample((clean,), {"cross_attn": torch.randn(1, 8, packed_models.TEXT, generator=generator)})
    loss = losses(model, [sample], torch.tensor([0.6]), [draw_noise(sample, generator_of(1))])
    loss.sum().backward()
    return loss.item(), {name: weight.grad for name, weight in adapter.weights.items()}


def test_a_lora_learns_beside_four_bits_as_beside_their_numbers(tmp_path):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    plain = part_of(tmp_path)
    held = copy.deepcopy(plain)
    names = trained_layers(held.transformer, LAYERS[0])
    assert nf4.pack(held.transformer) == len(names) and nf4.pack(held.transformer) == 0
    for name in names:
        weight, exact = held.transformer.get_submodule(name).weight, plain.transformer.get_submodule(name).weight
        assert isinstance(weight, PackedTensor) and weight.shape == exact.shape and weight.dtype == torch.float32
        # 4 bits a number, and a scale in fp32 for each 64.
        assert sum(weight.packed.tensors[role].nbytes for role in ("weight", "absmax")) * 8 == exact.numel() * 4.5
        functional = bitsandbytes.functional
        numbers, state = functional.quantize_4bit(exact.detach().float(), blocksize=64, quant_type="nf4")
        expected = functional.dequantize_4bit(numbers, state)
        assert torch.equal(unpacked(weight, torch.float32), expected)
        exact.data.copy_(expected)
    loss, computed = gradients(held)
    expected_loss, expected_gradients = gradients(plain)
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    for name, gradient in expected_gradients.items():
        least = 1e-6 + 1e-3 * gradient.abs().max().item()
        close = torch.allclose(computed[name], gradient, rtol=1e-3, atol=least)
        assert close, name


def test_without_bitsandbytes_nothing_is_packed(tmp_path, monkeypatch):
    part = part_of(tmp_path)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingTrainer, match="pip install bitsandbytes"):
        nf4.pack(part.transformer)
    assert not any(isinstance(weight, PackedTensor) for weight in part.transformer.parameters())
