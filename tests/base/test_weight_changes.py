"""Changes of weights with numbers a person can follow."""

from __future__ import annotations

import pytest
import torch

from opent2v.base.weight_changes import WeightChange, apply_change

# A convolution of two inputs and three outputs, and what is added to it.
WEIGHT = torch.arange(1.0, 25.0).view(3, 2, 1, 2, 2)
DIFF = torch.full_like(WEIGHT, 2.0)


@pytest.mark.parametrize("shape", [(3,), (3, 1, 1, 1, 1)])
def test_dora_gives_each_output_of_a_convolution_its_norm(shape):
    change = WeightChange("w", "diff", {"diff": DIFF, "dora": torch.tensor([1.0, 10.0, 100.0]).view(shape)})
    changed = apply_change(WEIGHT, change, 1.0)
    assert changed.flatten(1).norm(dim=1).tolist() == pytest.approx([1.0, 10.0, 100.0])
    # Only the length of an output changes: its direction is that of the merged weight.
    merged = WEIGHT + DIFF
    assert torch.allclose(changed[1], merged[1] * 10 / merged[1].norm())


def test_dora_gives_each_input_of_a_convolution_its_norm():
    change = WeightChange("w", "diff", {"diff": DIFF, "dora": torch.tensor([3.0, 7.0]).view(1, 2, 1, 1, 1)})
    changed = apply_change(WEIGHT, change, 1.0)
    assert changed.transpose(0, 1).flatten(1).norm(dim=1).tolist() == pytest.approx([3.0, 7.0])
    merged = WEIGHT + DIFF
    assert torch.allclose(changed[:, 1], merged[:, 1] * 7 / merged[:, 1].norm())


def test_half_the_strength_of_dora_is_half_of_its_change():
    change = WeightChange("w", "diff", {"diff": DIFF, "dora": torch.ones(3)})
    whole, half = (apply_change(WEIGHT, change, strength) for strength in (1.0, 0.5))
    assert torch.allclose(half, (WEIGHT + whole) / 2)
