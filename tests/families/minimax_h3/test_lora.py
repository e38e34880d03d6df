"""LoRA files for MiniMax H3 in every trainer's names change our MODEL as they change the makers' weights.

Tests: families/minimax_h3/lora.py
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from opent2v.families.minimax_h3 import FAMILY, files
from opent2v.families.minimax_h3.lora import LORA
from opent2v.host import embedded
from opent2v.loaders import load_model, open_file
from opent2v.tests.families.layouts import minimax_h3 as layout
from opent2v.tests.loaders.lora.applied import apply, loras
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import minimax_h3 as tiny

pytest.importorskip("diffusers", "0.40")
__all__ = ["loras"]
RANK = 2
LAYERS = (
    "blocks.1.attn.qkv_proj", "blocks.1.attn.out_proj", "blocks.2.mlp.fc1", "blocks.0.mlp.fc2",
    "token_refiner.blocks.0.attn.qkv_proj", "condition_proj", "final_layer.adaln_proj.linear",
    "blocks.2.adaln_proj.linear", "time_embedder.proj_in", "final_layer.video_out",
)  # fmt: skip


def model(kind: str, path) -> Any:
    file = open_file(tiny.save(path / f"{kind}.safetensors", tiny.originals(kind)))
    return embedded.model(load_model(file, torch.float32))


def factors(kind: str, interleaved: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer in the makers' names -> (up, down)."""
    generator, weights = torch.Generator().manual_seed(4), tiny.originals(kind, interleaved=interleaved)
    return {
        layer: (
            torch.randn(len(weights[f"{layer}.weight"]), RANK, generator=generator),
            torch.randn(RANK, weights[f"{layer}.weight"].shape[1], generator=generator),
        )
        for layer in LAYERS
        if f"{layer}.weight" in weights
    }


def expected(kind: str, path, interleaved: int = 0) -> dict[str, Tensor]:
    """Our transformer's weights, loaded from the makers' weights with the LoRA merged into them."""
    weights = dict(tiny.originals(kind, interleaved=interleaved))
    for layer, (up, down) in factors(kind, interleaved).items():
        weights[f"{layer}.weight"] = weights[f"{layer}.weight"] + up @ down
    file = open_file(tiny.save(path / "merged.safetensors", weights))
    rows = files.INTERLEAVED if interleaved else "auto"
    return dict(load_model(file, torch.float32, rope_layout=rows).transformer.named_parameters())


NAMES = {
    "ai-toolkit": ("diffusion_model.{}.lora_A.weight", "diffusion_model.{}.lora_B.weight"),
    "bare": ("{}.lora_A.weight", "{}.lora_B.weight"),
    "DiffSynth": ("{}.lora_A.default.weight", "{}.lora_B.default.weight"),
    "musubi": ("lora_unet_{}.lora_down.weight", "lora_unet_{}.lora_up.weight"),
}


@pytest.mark.parametrize("kind", ["full", "pruned"])
@pytest.mark.parametrize("trainer", list(NAMES))
def test_every_trainers_names(tmp_path, loras, trainer, kind):
    head = tiny.HEAD if trainer == "DiffSynth" else 0
    down_name, up_name = NAMES[trainer]
    tensors = {}
    for layer, (up, down) in factors(kind, head).items():
        spelled = layer.replace(".", "_") if trainer == "musubi" else layer
        tensors |= {down_name.format(spelled): down, up_name.format(spelled): up}
    tiny.save(loras / "any.safetensors", tensors)
    changed, report = apply(model(kind, tmp_path))
    count = len(factors(kind))
    assert f"{count} of {count} match" in report and ("head by head layout" in report) == bool(head)
    with changed.changed():
        ours = {name: weight.clone() for name, weight in changed.part.transformer.named_parameters()}
    for name, weight in expected(kind, tmp_path, head).items():
        assert torch.allclose(ours[name], weight, atol=1e-4), name


def test_diffusers_names(tmp_path, loras):
    names = {"transformer_blocks.1.attn.to_k": 128, "transformer_blocks.1.ff.net.2": 48}
    tensors = {}
    for name, rows in names.items():
        tensors[f"transformer.{name}.lora_A.weight"] = torch.randn(
            RANK, tiny.transformer("full")[f"{name}.weight"].shape[1]
        )
        tensors[f"transformer.{name}.lora_B.weight"] = torch.randn(rows, RANK)
    tiny.save(loras / "any.safetensors", tensors)
    assert "2 of 2 match" in apply(model("full", tmp_path))[1]


def test_modulations_of_the_other_kind_are_named(tmp_path, loras):
    tensors = {}
    for layer, (up, down) in factors("full").items():
        tensors |= {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}
    tiny.save(loras / "any.safetensors", tensors)
    report = apply(model("pruned", tmp_path))[1]
    assert "7 of 10 match, 2 in another shape, 1 unmatched" in report
    assert "adaln_proj layers are of a full model and this MODEL is pruned: they are left out" in report


def test_fasth3s_gates_are_skipped_and_its_whole_changes_applied(tmp_path, loras):
    up, down = factors("full")["blocks.1.attn.out_proj"]
    tiny.save(
        loras / "any.safetensors",
        {
            "diffusion_model.blocks.1.attn.out_proj.lora_A.weight": down,
            "diffusion_model.blocks.1.attn.out_proj.lora_B.weight": up,
            "diffusion_model.blocks.1.norm1.diff": torch.full((48,), 0.5),
            "diffusion_model.blocks.1.adaln_proj.linear.diff_b": torch.full((864,), 0.25),
            "diffusion_model.blocks.1.attn.to_gate_compress.set_weight": torch.ones(128, 48),
        },
    )
    plain = model("full", tmp_path)
    changed, report = apply(plain)
    assert "3 of 3 match" in report and "to_gate_compress.set_weight" in report
    before = plain.part.transformer.transformer_blocks[1].norm1.weight.clone()
    with changed.changed():
        block = changed.part.transformer.transformer_blocks[1]
        assert torch.allclose(block.norm1.weight, before + 0.5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("minimax_h3_turbo_544p_v1.0", "Few steps (MiniMax H3 Turbo 544p): 8 steps, cfg 1, shift 12 / 3"),
        ("MiniMax-H3-768p-4step-lightx2v", "Few steps (MiniMax H3 Turbo 768p): 4 steps, cfg 1, shift 6 / 3"),
        ("a_portrait_768p", ""),
    ],
)
def test_a_turbo_loras_steps_and_shifts_are_said_once(tmp_path, loras, name, said):
    up, down = factors("full")["blocks.1.attn.out_proj"]
    layer = "diffusion_model.blocks.1.attn.out_proj"
    tensors = {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}
    tiny.save(loras / f"{name}.safetensors", tensors)
    report = apply(model("full", tmp_path), f"{name}.safetensors")[1]
    assert said in report and report.count("shift") == bool(said)


@pytest.mark.parametrize(
    ("name", "right", "wrong"), [("minimax_h3_turbo_768p_v1.0", 6, 12.0), ("minimax_h3_turbo_544p_v1.0", 12, 6.0)]
)
def test_a_shift_that_does_not_fit_a_turbo_lora_is_told_with_the_right_one(tmp_path, loras, name, right, wrong):
    up, down = factors("full")["blocks.1.attn.out_proj"]
    layer = "diffusion_model.blocks.1.attn.out_proj"
    tiny.save(loras / f"{name}.safetensors", {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up})
    changed, _ = apply(model("full", tmp_path), f"{name}.safetensors")
    conditioning = [[torch.randn(1, 9, tiny.TEXT), {}]]
    latent = {"samples": embedded.nested([torch.zeros(1, 24, 2, 2, 2), torch.zeros(1, 32, 2, 8)])}

    def said(shift: float) -> str:
        inputs = {"model": changed, "positive": conditioning, "negative": conditioning, "latent": latent}
        return call("OpenT2VSampler", **inputs, seed=1, steps=4, shift=shift)[0][1]

    assert f"was made with shift {right}; shift {wrong:g} blurs or leaves noise." in said(wrong)
    for fitting in (0.0, float(right)):
        assert "was made with shift" not in said(fitting)
    assert f"shift {right} / 3: taken from MiniMax H3 Turbo" in said(0.0)


def test_a_published_loras_layers_tell_the_model():
    sizes = {"transformer_blocks.{}.attn.to_q": (7168, 5376)}
    assert LORA.title(sizes, 50) == "MiniMax H3" and not LORA.title({"transformer_blocks.{}.attn.to_q": (48, 48)}, 3)
    assert FAMILY.lora is LORA and layout.PUBLISHED["hidden_size"] == 5376
