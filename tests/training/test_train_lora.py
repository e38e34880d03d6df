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


def test_a_resumed_run_equals_one_that_was_never_stopped_and_another_starts_from_its_file(tmp_path):
    pytest.importorskip("peft", reason="peft is what trains a LoRA")
    whole = train(tmp_path / "whole", "--stop", "3")
    train(tmp_path / "parts", "--stop", "2")
    parts = train(tmp_path / "parts", "--stop", "3")
    assert len(whole) == 72 and any(w.abs().max() > 0 for n, w in whole.items() if "lora_B" in n)
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, atol=1e-4, rtol=0, msg=name)
    again = train(
        tmp_path / "again", "--start", str(tmp_path / "whole" / "lora.safetensors"), "--stop", "1", "--rate", "0"
    )
    assert all(torch.equal(again[name], weight) for name, weight in whole.items())


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


@pytest.fixture
def pool() -> dict[str, torch.Tensor]:
    filled, outlined = torch.randn(2, 32, 16, 5, 8, 8, generator=torch.Generator().manual_seed(0)).half()
    return {"filled": filled, "outlined": outlined, "ids": torch.arange(32)[:, None].expand(32, captions.MAX_TOKENS)}


def test_a_lesson_is_of_its_number_alone_and_has_three_kinds_of_clips(pool):
    given, again = (train_lora.lesson(7, 20, pool) for _ in range(2))
    assert torch.equal(given.latents, again.latents) and torch.equal(given.ratios, again.ratios)
    filled, outlined = (pool[name][given.ids[:, 0]].float() for name in ("filled", "outlined"))
    # Much noise: the base as it is. Little, and the outline in it: to the outline. Else the filled shape: there too.
    assert (given.t[:4] >= train_lora.TURN).all() and torch.equal(given.goal[:4], filled[:4])
    assert (given.t[4:] <= train_lora.TURN).all() and torch.equal(given.goal[4:], outlined[4:])
    shown, mix = torch.cat([filled[:4], outlined[4:8], filled[8:]]), given.t.view(-1, 1, 1, 1, 1)
    noise = (given.latents - (1 - mix) * shown) / mix
    assert noise.mean().abs() < 0.05 and (noise.std(dim=(1, 2, 3, 4)) - 1).abs().max() < 0.1
    assert given.still == 8 and given.ratios.shape[1] == 12


def test_lessons_differ_in_strength_and_in_how_far_the_lora_goes_first(pool):
    given = [train_lora.lesson(step, 2, pool) for step in range(400)]
    counts = [sum(len(one.ratios) == n for one in given) / 400 for n in range(5)]
    assert counts == pytest.approx(train_lora.STEPS, abs=0.08)
    stronger = [one.strength for one in given if one.strength != 1]
    assert len(stronger) / 400 == pytest.approx(train_lora.STRONGER, abs=0.06) and 1 < min(stronger) < max(stronger) < 2
    assert sum(one.is_guided for one in given) / 400 == pytest.approx(train_lora.GUIDED, abs=0.08)


def test_a_perfect_lora_goes_straight_to_the_goal(pool):
    given = next(one for one in (train_lora.lesson(step, 20, pool) for step in range(99)) if len(one.ratios) == 3)
    asked = []

    def flow(x, t, rows, is_guided):
        asked.append((len(x), is_guided))
        return (x - given.goal[rows]) / t.view(-1, 1, 1, 1, 1)

    x, t = train_lora.walked(flow, given)
    assert asked == [(12, given.is_guided)] * 3
    assert torch.equal(x[:8], given.latents[:8]) and torch.equal(t[:8], given.t[:8])
    left = given.ratios.prod(0)
    torch.testing.assert_close(t[8:], given.t[8:] * left)
    rest = left.view(-1, 1, 1, 1, 1) * (given.latents - given.goal)[8:]
    torch.testing.assert_close(x[8:] - given.goal[8:], rest, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", world.SHAPES)
def test_the_line_lies_on_the_edge_of_the_filled_shape(shape):
    filled, outlined = (score.measure(v) for v in filled_and_outlined(shape))
    assert (filled.outlined, outlined.outlined) == (False, True)
    assert 1 < outlined.raw["area"] / filled.raw["area"] < 2


def test_the_shipped_file_fits_the_bundled_model_and_is_small():
    assert SHIPPED.stat().st_size <= 1_000_000
    file, folder = read_lora(SHIPPED), open_folder(train_lora.FOLDER)
    model = load_pipeline(folder, **embedded.device_dtypes(None, None)).models[0]  # pyright: ignore[reportArgumentType]
    verdict = match(file, embedded.patch_target(embedded.model(model)))
    # 6 blocks: 4 layers of the self-attention, 2 behind both attentions.
    assert (verdict.matched, verdict.total) == (36, 36) and file.ranks == (train_lora.RANK,)
    assert len(load_patches(verdict)) == 36 and not file.leftovers
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
    assert evaluate.outlines(without)[1] < 0.05 and evaluate.outlines(with_it)[1] > 0.5
    assert evaluate.shares(with_it)["colour"] == 100
