"""A LoRA of the full model on one that was pruned from it: turned with the full model's timesteps, it does the same.

Tests: loaders/lora/rebase.py, families/minimax_h3/lora.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from opent2v.base import FamilyError
from opent2v.families.minimax_h3.lora import TIMESTEPS
from opent2v.host import embedded
from opent2v.loaders import ModelFileError, load_model, open_file
from opent2v.tests.families.minimax_h3.test_network import called, streams
from opent2v.tests.loaders.lora.applied import apply, loras
from opent2v.tests.tiny import minimax_h3 as tiny

pytest.importorskip("diffusers", "0.40")
__all__ = ["loras"]
ROWS, RANK = 1025, 2
LAYERS = ("blocks.1.attn.out_proj", "blocks.0.adaln_proj.linear", "blocks.2.adaln_proj.linear",
          "final_layer.adaln_proj.linear")  # fmt: skip


def loaded(path: Path, weights: dict[str, Tensor]) -> Any:
    return embedded.model(load_model(open_file(tiny.save(path, weights)), torch.float32))


def timesteps(full: Any) -> Tensor:
    """The inputs of the full model's modulations at the table's rows [rows, 24]."""
    transformer = full.part.transformer
    times = torch.linspace(0, 1, ROWS)
    embedded_times = transformer.time_embedder(transformer.time_proj(times))
    return torch.nn.functional.silu(embedded_times)


def pruned(inputs: Tensor, width: int) -> dict[str, Tensor]:
    """The full model's weights with their modulations in this many coordinates, as published ones were made."""
    mean = inputs.mean(0)
    _, _, directions = torch.linalg.svd(inputs - mean, full_matrices=False)
    basis = directions[:width].T
    weights: dict[str, Tensor] = {"adaln_t_table": (inputs - mean) @ basis}
    for name, weight in tiny.originals("full").items():
        if "adaln_proj.linear.weight" in name:
            weights[name] = weight @ basis
        elif "adaln_proj.linear.bias" in name:
            weights[name] = weight + tiny.originals("full")[name.replace("bias", "weight")] @ mean
        elif not name.startswith("time_embedder"):
            weights[name] = weight
    return weights


@pytest.fixture
def pair(tmp_path):
    """(full MODEL, MODEL pruned from it, the timesteps)."""
    with torch.no_grad():
        full = loaded(tmp_path / "full.safetensors", tiny.originals("full"))
        inputs = timesteps(full)
        yield full, loaded(tmp_path / "pruned.safetensors", pruned(inputs, 16)), inputs


def save_lora(folder: Path, alpha: float = 0.0, spelled: str = "{}.lora_A.weight {}.lora_B.weight {}.alpha") -> None:
    dice, tensors = torch.Generator().manual_seed(4), {}
    down, up, scale = spelled.split()
    for layer in LAYERS:
        rows, columns = tiny.originals("full")[f"{layer}.weight"].shape
        name = layer.replace(".", "_") if "unet" in down else layer
        tensors[down.format(name)] = torch.randn(RANK, columns, generator=dice) * columns**-0.5
        tensors[up.format(name)] = torch.randn(rows, RANK, generator=dice)
        if alpha:
            tensors[scale.format(name)] = torch.tensor(alpha)
    tiny.save(folder / "any.safetensors", tensors)


def flows(model: Any) -> list[Tensor]:
    with model.changed():
        return [flow for sigma in (0.9, 0.4) for flow in called(model.part, streams(), sigma)]


def apart(some: list[Tensor], others: list[Tensor]) -> float:
    return max(float((a - b).norm() / b.norm()) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize(
    ("alpha", "spelled"),
    [(0.0, "{}.lora_A.weight {}.lora_B.weight {}.alpha"),
     (1.0, "lora_unet_{}.lora_down.weight lora_unet_{}.lora_up.weight lora_unet_{}.alpha")],
)  # fmt: skip
def test_a_full_models_lora_does_the_same_on_the_pruned_one(pair, loras, alpha, spelled):
    full, small, inputs = pair
    assert apart(flows(small), flows(full)) < 1e-3
    save_lora(loras, alpha, spelled)
    expected, report = apply(full)
    assert "4 of 4 match" in report and "turned" not in report
    left_out, report = apply(small)
    assert "1 of 4 match, 3 in another shape" in report and f"Put {TIMESTEPS}" in report
    tiny.save(loras / TIMESTEPS, {"silu_t_emb_grid": inputs.bfloat16()})
    turned, report = apply(small)
    assert "7 of 7 match" in report and f"turned into this pruned one's by {TIMESTEPS}" in report
    effect = apart(flows(full), flows(expected))
    assert apart(flows(turned), flows(expected)) < 0.01 * effect < apart(flows(left_out), flows(expected))
    again, _ = apply(full)
    assert torch.equal(flows(again)[0], flows(expected)[0])


def test_timesteps_of_another_model_are_refused(pair, loras):
    _, small, inputs = pair
    save_lora(loras)
    tiny.save(loras / TIMESTEPS, {"silu_t_emb_grid": torch.randn_like(inputs)})
    with pytest.raises(ModelFileError, match=r"not those of this MODEL's table \(\d+\.\d% of them are left over\)"):
        apply(small)
    tiny.save(loras / TIMESTEPS, {"silu_t_emb_grid": inputs[:9]})
    with pytest.raises(ModelFileError, match=r"expected silu_t_emb_grid with 1025 rows.* found \[9, 24\]"):
        apply(small)
    tiny.save(loras / TIMESTEPS, {"something": inputs})
    with pytest.raises(ModelFileError, match="found no such tensor"):
        apply(small)


def test_a_pruned_models_lora_is_left_out_of_the_full_one_by_name(pair, loras):
    full, small, _ = pair
    name = "blocks.0.adaln_proj.linear"
    rows, columns = small.part.transformer.transformer_blocks[0].adaln_proj.linear.weight.shape
    tensors = {f"{name}.lora_A.weight": torch.randn(RANK, columns), f"{name}.lora_B.weight": torch.randn(rows, RANK)}
    tiny.save(loras / "any.safetensors", tensors)
    with pytest.raises(FamilyError, match=r"0 of 1 match\. For example blocks\.0\.adaln_proj"):
        apply(full)
    out = {f"blocks.0.attn.out_proj.lora_{end}.weight": torch.randn(*shape) for end, shape in
           (("A", (RANK, 128)), ("B", (48, RANK)))}  # fmt: skip
    tiny.save(loras / "any.safetensors", tensors | out)
    assert "of a pruned model and this MODEL is full: they are left out, since their table is in" in apply(full)[1]


def test_a_pruned_file_may_hold_its_basis(tmp_path, pair):
    _, small, inputs = pair
    beside = {"adaln_basis": torch.randn(24, 16), "adaln_mean": inputs.mean(0), "silu_t_emb_grid": inputs}
    model = loaded(tmp_path / "more.safetensors", pruned(inputs, 16) | beside)
    assert torch.equal(flows(model)[0], flows(small)[0])
