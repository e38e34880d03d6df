"""What tells models apart for a step cache's profile. Tests: host/fingerprint.py"""

from __future__ import annotations

import torch
from torch import nn

from opent2v.host.fingerprint import of_patches, of_weights


def blocks(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))


def of(model: nn.Module) -> str:
    return of_weights(dict(model.named_parameters()))


def test_weights_are_told_by_their_values_shapes_and_names():
    assert of(blocks()) == of(blocks()) != of(blocks(1))
    assert of_weights({"a": torch.zeros(2, 3)}) != of_weights({"a": torch.zeros(3, 2)})
    assert of_weights({"a": torch.zeros(2)}) != of_weights({"b": torch.zeros(2)})


def test_compiling_changes_nothing():
    whole, one_by_one = torch.compile(blocks()), blocks()
    for n, block in enumerate(one_by_one):
        one_by_one[n] = torch.compile(block)
    assert of(whole) == of(one_by_one) == of(blocks())


def test_patches_are_told_by_their_strength_and_values():
    def patch(strength=1.0, value=0.0):
        return of_patches({"key": (strength, "lora", [torch.full((2, 2), value)])})

    assert of_patches({}) == ""
    assert len({patch(), patch(0.5), patch(value=1.0)}) == 3 and patch() == patch()
