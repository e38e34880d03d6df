"""A LoRA on weights in few bits: the same loss and the same gradients as on the numbers that they stand for.

Tests: finetune/adapter.py, finetune/objective.py
"""

from __future__ import annotations

import pytest
import torch

from opent2v.base.packed import PackedTensor
from opent2v.finetune.adapter import Adapter, trained_layers
from opent2v.finetune.objective import Sample, draw_noise, losses
from opent2v.finetune.order import generator_of
from opent2v.host import embedded
from opent2v.loaders import load_model, open_file
from opent2v.tests.tiny import packed, packed_models


def gradients(path, keeps_packed: bool):
    """(loss, gradients by name, how many of the adapted layers hold packed weights) of a first step."""
    part = load_model(open_file(path), torch.float32, keeps_packed=keeps_packed)
    model = embedded.training_model(embedded.model(part))
    layers = trained_layers(part.transformer, "attention and feed-forward")
    held = sum(isinstance(part.transformer.get_submodule(name).weight, PackedTensor) for name in layers)
    adapter = Adapter(part.transformer, layers, 4, 1.0, seed=0)
    for name, weight in adapter.weights.items():  # not zero, so that the first matrices have gradients too
        if "lora_B" in name:
            weight.data.normal_(std=0.1, generator=generator_of(name))
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(packed_models.LATENT["wan"], generator=generator)
    sample = Sample((clean,), {"cross_attn": torch.randn(1, 8, packed_models.TEXT, generator=generator)})
    loss = losses(model, [sample], torch.tensor([0.6]), [draw_noise(sample, generator_of(1))])
    loss.sum().backward()
    return loss.item(), {name: weight.grad for name, weight in adapter.weights.items()}, held


@pytest.mark.parametrize("kind", packed.KINDS)
def test_gradients_go_past_packed_weights(tmp_path, kind):
    exact = packed.write(tmp_path / "packed.safetensors", packed_models.state("wan"), kind)
    packed.write(tmp_path / "plain.safetensors", exact, "")
    plain, expected, none = gradients(tmp_path / "plain.safetensors", False)
    loss, computed, held = gradients(tmp_path / "packed.safetensors", True)
    assert held > 0 and none == 0
    assert loss == pytest.approx(plain, rel=1e-4)
    for name, gradient in expected.items():
        assert torch.allclose(computed[name], gradient, rtol=1e-3, atol=1e-6 + 1e-3 * gradient.abs().max()), name
