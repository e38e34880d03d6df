"""The outline LoRA: its training is repeatable, its file fits, and with it the bundled model draws outlines."""

from __future__ import annotations

import sys

import pytest
import torch
from safetensors.torch import load_file

from opent2v.host import embedded
from opent2v.loaders import load_pipeline, open_folder
from opent2v.loaders.lora import load_patches, match, read_lora
from opent2v.training import captions, evaluate, score, train_lora, world
from opent2v.training.world import Dice

SHIPPED = train_lora.FOLDER.parents[1] / "loras" / "opent2v-quickstart-outline.safetensors"


def train(work, *options):
    out = work / "lora.safetensors"
    train_lora.main(["--work", str(work), "--out", str(out), "--clips", "8", "--batch", "2", *options])
    return load_file(out)


def filled_and_outlined(shape: str) -> torch.Tensor:
    one = world.take(world.Scene(shape, "red", "still", "grey"), Dice(1))
    return world.render([one, train_lora.outline(one)], 64, 5)


def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path):
    pytest.importorskip("peft", reason="peft is what trains a LoRA")
    whole = train(tmp_path / "whole", "--stop", "3")
    train(tmp_path / "parts", "--stop", "2")
    parts = train(tmp_path / "parts", "--stop", "3")
    assert len(whole) == 120 and any(w.abs().max() > 0 for n, w in whole.items() if "lora_B" in n)
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, atol=1e-4, rtol=0, msg=name)


def test_without_peft_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(SystemExit, match="training a LoRA needs peft: pip install peft"):
        train(tmp_path)


def test_the_clips_are_those_of_the_world_filled_and_as_outlines():
    class Space:
        def encode(self, video):
            return video

    found = train_lora.clips(6, world.split()[0], Space())  # pyright: ignore[reportArgumentType]
    assert found["ids"].shape == (6, captions.MAX_TOKENS) and found["filled"].shape == (6, 3, 17, 64, 64)
    kinds = [[score.measure(v.float()).outlined for v in found[name]] for name in ("filled", "outlined")]
    assert kinds == [[False] * 6, [True] * 6]


@pytest.mark.parametrize("t", [0.05, 0.2, 0.45, 0.66, 0.8])
def test_the_flow_is_the_derivative_of_the_way(t):
    filled, outlined, noise = torch.randn(3, 1, 16, 2, 8, 8, dtype=torch.float64).unbind()
    here, before, after = (torch.tensor([v], dtype=torch.float64) for v in (t, t - 1e-5, t + 1e-5))
    latents, flow = train_lora.path(filled, outlined, noise, here)
    rise = train_lora.path(filled, outlined, noise, after)[0] - train_lora.path(filled, outlined, noise, before)[0]
    torch.testing.assert_close(flow, rise / 2e-5, atol=1e-6, rtol=1e-5)
    shown = filled if t > train_lora.BEGIN else outlined if t < train_lora.END else None
    if shown is not None:
        torch.testing.assert_close(latents, (1 - t) * shown + t * noise)
        torch.testing.assert_close(flow, noise - shown)


@pytest.mark.parametrize("shape", world.SHAPES)
def test_the_line_lies_on_the_edge_of_the_filled_shape(shape):
    filled, outlined = (score.measure(v) for v in filled_and_outlined(shape))
    assert (filled.outlined, outlined.outlined) == (False, True)
    assert 1 < outlined.raw["area"] / filled.raw["area"] < 1.5


def test_the_shipped_file_fits_the_bundled_model_and_is_small():
    assert SHIPPED.stat().st_size <= 1_000_000
    file, folder = read_lora(SHIPPED), open_folder(train_lora.FOLDER)
    model = load_pipeline(folder, **embedded.device_dtypes(None, None)).models[0]  # pyright: ignore[reportArgumentType]
    verdict = match(file, embedded.patch_target(embedded.model(model)))
    # 6 blocks of 2 attentions with 4 layers each, and 2 layers behind them.
    assert (verdict.matched, verdict.total) == (60, 60) and file.ranks == (train_lora.RANK,)
    assert len(load_patches(verdict)) == 60 and not file.leftovers
    assert file.metadata["base_model"] == "opent2v-quickstart" and file.metadata["license"] == "apache-2.0"


def test_strength_0_changes_no_bit():
    prompts, seeds = [captions.plain(world.split()[1][0])], [0]
    plain = evaluate.render(evaluate.from_folder(train_lora.FOLDER), prompts, seeds, steps=2)
    none = evaluate.render(evaluate.from_folder(train_lora.FOLDER, SHIPPED, 0.0), prompts, seeds, steps=2)
    full = evaluate.render(evaluate.from_folder(train_lora.FOLDER, SHIPPED), prompts, seeds, steps=2)
    assert torch.equal(plain, none) and not torch.equal(plain, full)


def test_with_it_shapes_are_hollow_and_without_it_filled():
    scenes = world.split()[1][:4]
    with_it = [r for r, _ in evaluate.evaluate(evaluate.from_folder(train_lora.FOLDER, SHIPPED), scenes, "en")]
    without = [r for r, _ in evaluate.evaluate(evaluate.from_folder(train_lora.FOLDER), scenes, "en")]
    assert evaluate.outlines(without)[1] < 0.05 and evaluate.outlines(with_it)[1] > 0.3
    assert evaluate.shares(with_it)["colour"] == 100
