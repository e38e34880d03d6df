"""Changes of weights with numbers a person can follow."""

from __future__ import annotations

import pytest
import torch

from opent2v.base.weight_changes import WeightChange, apply_change, norm_of

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


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(
    ("kind", "tensors", "shape"),
    [
        ("lora", {"up": drawn(6, 2), "down": drawn(2, 5)}, (6, 5)),
        ("lora", {"up": drawn(6, 2, 1, 1), "down": drawn(2, 5, 3, 3)}, (6, 5, 3, 3)),
        ("lora", {"up": drawn(6, 2), "down": drawn(3, 5), "mid": drawn(2, 3, 3, 3)}, (6, 5, 3, 3)),
        ("loha", {"w1_a": drawn(6, 2), "w1_b": drawn(2, 5), "w2_a": drawn(6, 3), "w2_b": drawn(3, 5)}, (6, 5)),
        ("lokr", {"w1": drawn(2, 2), "w2_a": drawn(3, 2), "w2_b": drawn(2, 4)}, (6, 8)),
        ("diff", {"diff": drawn(7)}, (7,)),
    ],
)
def test_the_norm_of_a_change_is_that_of_what_it_adds(kind, tensors, shape):
    change = WeightChange("w", kind, tensors, 0.25)
    added = apply_change(torch.zeros(shape), change, 1.0)
    assert norm_of(change) == (pytest.approx(added.norm().item(), rel=1e-5), added.numel())


def test_a_change_that_depends_on_the_weight_has_no_norm_by_itself():
    factors = {"up": drawn(6, 2), "down": drawn(2, 5)}
    assert norm_of(WeightChange("w", "lora", {**factors, "dora": drawn(6)}, 1.0)) is None
    assert norm_of(WeightChange("w", "oft", {"blocks": drawn(2, 3, 3)}, 0.0)) is None
    assert norm_of(WeightChange("w", "lora", factors, 1.0, pick=torch.tensor([0, 2]))) is None
