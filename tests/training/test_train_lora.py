"""The outline LoRA: its training is repeatable, its file fits, and with it the bundled model draws outlines."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from opent2v.host import embedded
from opent2v.loaders import load_pipeline, open_folder
from opent2v.loaders.lora import load_patches, match, read_lora
from opent2v.sampling import make_schedule
from opent2v.training import captions, evaluate, export, latents, outlines, score, train_lora, world
from opent2v.training.train_lora import Lots
from opent2v.training.train_transformer import Pair

SHIPPED = train_lora.FOLDER.parents[1] / "loras" / "opent2v-quickstart-outline.safetensors"
COUNT = 8  # clips of the pool below


def train(work, *options):
    out = work / "lora.safetensors"
    train_lora.main(["--work", str(work), "--out", str(out), "--clips", "4", "--batch", "6", *options])
    return load_file(out)


def test_a_resumed_run_equals_one_that_was_never_stopped_and_another_starts_from_its_file(tmp_path, monkeypatch):
    pytest.importorskip("peft", reason="peft is what trains a LoRA")
    monkeypatch.setattr(outlines, "BATCH", 4)
    whole = train(tmp_path / "whole", "--stop", "3")
    train(tmp_path / "parts", "--stop", "2")
    parts = train(tmp_path / "parts", "--stop", "3")
    assert len(whole) == 76 and any(w.abs().max() > 0 for n, w in whole.items() if "lora_B" in n)
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, atol=1e-4, rtol=0, msg=name)
    again = train(
        tmp_path / "again", "--start", str(tmp_path / "whole" / "lora.safetensors"), "--stop", "1", "--rate", "0"
    )
    assert all(torch.equal(again[name], weight) for name, weight in whole.items())
    other = tmp_path / "other.safetensors"
    save_file({"diffusion_model.blocks.0.lora_A.weight": torch.zeros(1, 1)}, other)
    with pytest.raises(SystemExit, match="1 of 1 tensors are of no layer that is trained here, first diffusion_model"):
        train(tmp_path / "again", "--start", str(other))


def test_a_batch_that_does_not_share_out_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train(tmp_path, "--batch", "16")
    assert "--batch 16 is no multiple of 6" in capsys.readouterr().err


def test_without_peft_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(SystemExit, match="training a LoRA needs peft: pip install peft"):
        train(tmp_path)


@pytest.fixture
def pool() -> dict[str, Tensor]:
    """Latents that can be told apart: those of clip n are about n, and 100, 200, ... higher by their kind."""
    dice = torch.Generator().manual_seed(0)

    def some(kind: int, *places: int) -> Tensor:
        noise = 0.01 * torch.randn((COUNT, *places, 16, 9, 8, 8), generator=dice)
        return (noise + kind + torch.arange(COUNT).view(-1, *[1] * (noise.dim() - 1))).half()

    return {
        "ids": torch.zeros(COUNT, captions.MAX_TOKENS, dtype=torch.long),
        "scene": torch.zeros(COUNT, dtype=torch.long),
        "radius": torch.full((COUNT, 2), 0.2),
        "tint": torch.zeros(COUNT, 3),
        "shade": torch.zeros(COUNT, 3),
        "filled": some(100),
        "outlined": some(200),
        "late_x": some(300, 2),
        "late_t": torch.tensor([0.6, 0.5]).expand(COUNT, 2),
        "early_x": some(400, 4),
        "early_t": torch.tensor([0.98, 0.9, 0.8, 0.7]).expand(COUNT, 4),
        "early_positive": some(500, 4),
        "early_negative": some(600, 4),
    }


def means(values: Tensor) -> Tensor:
    return values.mean(dim=(1, 2, 3, 4))


def test_the_steps_on_the_way_are_those_of_the_models_schedule():
    t, seen = torch.ones(1), []
    while t > 1e-5:
        seen.append(float(t))
        t = train_lora.later(t, torch.ones(1))
    sigmas = make_schedule(export.SCHEDULER, steps=20, shift=None).sigmas
    # The scheduler begins at 0.999 and counts in thousandths.
    assert seen == pytest.approx(sigmas[:-1].tolist(), abs=0.011)
    assert len(seen) == 20


def test_clips_set_out_where_the_base_has_left_them(pool):
    way = train_lora.set_out(Lots(1), 4000, pool)
    is_second = way["t"] == 0.5
    assert ((way["t"] == 0.6) | is_second).all() and is_second.float().mean() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(means(way["x"]), 300.0 + way["clip"], atol=0.2, rtol=0)
    strength = way["strength"]
    # To the outline, or to the filled shape where the strength is negative.
    goal = torch.where(strength < 0, 100.0, 200.0) + way["clip"]
    torch.testing.assert_close(means(way["goal"]), goal, atol=0.2, rtol=0)
    assert (strength < 0).float().mean() == pytest.approx(train_lora.NEGATIVE, abs=0.02)
    assert (strength > train_lora.LEAST).float().mean() == pytest.approx(train_lora.STRONGER, abs=0.03)
    assert strength.min() > -1 and 2 < strength.max() <= train_lora.MOST
    assert (strength == train_lora.LEAST).float().mean() > 0.3


def test_a_lesson_is_of_its_number_and_has_three_kinds_of_clips(pool):
    way = train_lora.set_out(Lots(-1), 18, pool)
    given, again = (train_lora.lesson(way, Lots(7), pool) for _ in range(2))
    assert all(torch.equal(given[name], again[name]) for name in given)
    assert given["x"].shape == (36, 16, 9, 8, 8) and {len(v) for v in given.values()} == {36}
    clip, t, x = given["clip"], given["t"], given["x"]
    arrived = x - train_lora.broad(t) * given["positive"]
    # Much noise: what the base says, to each prompt. The others: straight to their goals, whatever the prompt.
    early = slice(18, 30)
    assert (t[early] > outlines.TURN).all()
    for name, kind in (("x", 400.0), ("positive", 500.0), ("negative", 600.0)):
        torch.testing.assert_close(means(given[name][early]), kind + clip[early], atol=0.6, rtol=0)
    for rows in (slice(0, 18), slice(30, 36)):
        assert torch.equal(given["positive"][rows], given["negative"][rows])
    # Under way.
    assert torch.equal(x[:18], way["x"])
    torch.testing.assert_close(arrived[:18], way["goal"], atol=1e-3, rtol=0)
    # Between the filled shape, which is 100 less, and the outline, or on the line from noise to the outline.
    assert (t[30:] < outlines.TURN).all() and (given["strength"][30:] == train_lora.LEAST).all()
    torch.testing.assert_close(means(arrived[30:]), 200.0 + clip[30:], atol=0.2, rtol=0)
    part = (200 + clip - means(x) / (1 - t))[30:] / 100
    assert ((part[::2] > 0.1 * t[30::2]) & (part[::2] < 1)).all() and part[1::2].abs().max() < 0.02


class AsItIs:
    """A space whose latents are the clip."""

    def encode(self, video):
        return video

    def decode(self, latent):
        return latent


def test_who_goes_straight_to_the_goal_arrives_and_makes_room(pool, monkeypatch):
    monkeypatch.setattr(train_lora, "AIM_AGAIN", ())
    way = train_lora.set_out(Lots(-1), 3, pool)
    clip, goal = way["clip"], pool["outlined"][way["clip"]].float()
    way |= {"strength": torch.ones(3), "goal": goal, "t": torch.full((3,), 0.6), "pace": torch.tensor([1.0, 1.4, 0.8])}
    first, steps, arrived = way, 0, torch.zeros(3, dtype=torch.bool)
    while not arrived.all():
        given = train_lora.lesson(way, Lots(steps), pool)
        then = train_lora.go_on(way, given["positive"][:3], Lots(steps), pool, AsItIs())  # pyright: ignore[reportArgumentType]
        new = then["t"] > way["t"]
        for i in (~new & ~arrived).nonzero().flatten().tolist():
            # The part of the way that is left is the part of the noise that is left.
            assert then["clip"][i] == clip[i]
            part = then["t"][i] / 0.6
            torch.testing.assert_close(then["x"][i] - goal[i], part * (first["x"][i] - goal[i]), atol=0.01, rtol=1e-3)
        torch.testing.assert_close(means(then["x"][new]), 300.0 + then["clip"][new], atol=0.2, rtol=0)
        way, steps, arrived = then, steps + 1, arrived | new
    assert steps == 8  # at 0.8 of the pace; at 1.0 it is 7, and the sampler's last step goes to 0


def test_half_way_the_nearest_outline_becomes_the_goal():
    scene = world.scenes()[0]
    one = world.take(scene, world.Dice(3))
    # What the clip is about to become: the shape, half of it hollow, to the left of where the base meant it to be.
    meant, moved = outlines.outline(one), replace(outlines.outline(one), x=(one.x[0] - 0.1, one.x[1] - 0.1))
    expected, half = world.render([moved, replace(moved, stroke=None)], latents.SIZE, latents.FRAMES).split(1)
    expected = 0.5 * (expected + half)
    goal = world.render([meant], latents.SIZE, latents.FRAMES)
    way = {
        "clip": torch.tensor([0, 0, 0, 0]),
        "x": expected.expand(4, -1, -1, -1, -1) + 0.56,
        "t": torch.tensor([0.56, 0.56, 0.61, 0.56]),
        "goal": goal.expand(4, -1, -1, -1, -1),
        "strength": torch.tensor([1.0, -0.5, 1.0, 2.0]),
        "pace": torch.ones(4),
    }
    pool = {
        "ids": torch.zeros(1, 32),
        "scene": torch.tensor([0]),
        "radius": torch.tensor([meant.radius]),
        "tint": torch.tensor([meant.tint]),
        "shade": torch.tensor([meant.shade]),
        "late_x": goal[:, None].expand(-1, 2, -1, -1, -1, -1),
        "late_t": torch.tensor([[0.6, 0.5]]),
        "filled": goal,
        "outlined": goal,
    }
    then = train_lora.go_on(way, torch.ones(4, 3, latents.FRAMES, latents.SIZE, latents.SIZE), Lots(0), pool, AsItIs())  # pyright: ignore[reportArgumentType]
    assert (then["t"][:2] < train_lora.AIM_AGAIN[0]).all() and then["t"][2] > train_lora.AIM_AGAIN[0]
    # Not where the strength is to change nothing, nor before the place.
    assert torch.equal(then["goal"][1:3], way["goal"][1:3])
    found = score.measure(then["goal"][0])
    assert found.outlined and found.right(scene) == dict.fromkeys(score.ATTRIBUTES, True)
    there = world.render([moved], latents.SIZE, latents.FRAMES)[0]
    assert (then["goal"][0] - there).abs().mean() < 0.3 * (goal[0] - there).abs().mean()
    # At a higher strength a larger one, with more inside.
    plain, larger = (score.shown(then["goal"][i], scene) for i in (0, 3))
    assert plain is not None and larger is not None
    for a, b in zip(plain.radius, larger.radius, strict=True):
        assert b / a == pytest.approx((1 + 1.5 * train_lora.WIDER) / (1 + 0.5 * train_lora.WIDER), rel=0.02)


def test_the_loss_weighs_the_guided_error_and_each_prompts_own():
    ones = torch.ones(2, 16, 9, 8, 8)
    given = {"positive": 0 * ones, "negative": 0 * ones, "t": torch.tensor([0.5, 0.5])}
    assert train_lora.loss_of((0 * ones, 0 * ones), given, torch.ones(2)) == 0
    # cfg 3: guided -1 + 3 * (1 - -1) = 5; a quarter of 1 * 25 + 0.5 * 1 + 0.1 * 1.
    loss = train_lora.loss_of((ones, -ones), given, torch.full((2,), 3.0))
    assert float(loss) == pytest.approx(0.25 * (25 + 0.5 + 0.1))
    # With much noise, more.
    early = train_lora.loss_of((ones, -ones), {**given, "t": torch.full((2,), 0.8)}, torch.full((2,), 3.0))
    assert float(early) == pytest.approx(train_lora.EARLY_WEIGHT * 0.64 * (25 + 0.5 + 0.1))


def test_every_clip_has_a_strength_of_its_own():
    pytest.importorskip("peft", reason="peft is what trains a LoRA")
    pair = Pair(len(captions.tokenizer()))
    pair.load_folder(train_lora.FOLDER)
    dice = torch.Generator().manual_seed(0)
    x, told = torch.randn(3, 16, 9, 8, 8, generator=dice), torch.randn(3, 32, 96, generator=dice)
    t = torch.tensor([0.9, 0.5, 0.2])
    with torch.no_grad():
        plain = pair.transformer(x, t * 1000, told, return_dict=False)[0]
        adapted = train_lora.Adapted(pair)
        for weight in adapted.weights.values():
            weight.copy_(0.05 * torch.randn(weight.shape, generator=dice))
        found = adapted(x, t, told, torch.tensor([0.0, 1.0, -0.5]))
        assert torch.equal(found[0], plain[0])
        for i, strength in ((1, 1.0), (2, -0.5)):
            pair.transformer.set_adapters("default", strength)
            alone = pair.transformer(x[i : i + 1], t[i : i + 1] * 1000, told[i : i + 1], return_dict=False)[0]
            torch.testing.assert_close(found[i], alone[0], atol=1e-5, rtol=1e-5)
            assert (alone[0] - plain[i]).abs().max() > 0.01


def test_a_file_that_is_stronger_than_its_adapter_is_gone_on_with_as_it_was_trained(tmp_path):
    names = ("blocks.0.attn1.to_q.lora_A.default.weight", "blocks.0.attn1.to_q.lora_B.default.weight")
    weights = {name: torch.nn.Parameter(torch.randn(24, 24)) for name in names}
    train_lora.write(
        train_lora.stronger(weights, 1.4), tmp_path / "stronger.safetensors", metadata={train_lora.TRAINED: "1.4"}
    )
    changed = [torch.nn.Parameter(torch.zeros(24, 24)) for _ in names]
    train_lora.begin(
        dict(zip(names, changed, strict=True)), Namespace(start=tmp_path / "stronger.safetensors", start_before=None)
    )
    for weight, name in zip(changed, names, strict=True):
        torch.testing.assert_close(weight, weights[name], atol=2e-3, rtol=2e-3)
    down, up = (load_file(tmp_path / "stronger.safetensors")[train_lora.named(name)].float() for name in names)
    torch.testing.assert_close(up @ down, 1.4 * (weights[names[1]] @ weights[names[0]]).detach(), atol=0.05, rtol=0.01)


def test_the_shipped_file_fits_the_bundled_model_and_is_small():
    assert SHIPPED.stat().st_size <= 1_000_000
    file, folder = read_lora(SHIPPED), open_folder(train_lora.FOLDER)
    model = load_pipeline(folder, **embedded.device_dtypes(None, None)).models[0]  # pyright: ignore[reportArgumentType]
    verdict = match(file, embedded.patch_target(embedded.model(model)))
    # 6 blocks: 4 layers of the self-attention, 2 behind both attentions; the share of noise, and what comes out.
    assert (verdict.matched, verdict.total) == (38, 38) and file.ranks == (train_lora.RANK,)
    assert len(load_patches(verdict)) == 38 and not file.leftovers
    assert file.metadata["base_model"] == "opent2v-quickstart" and file.metadata["license"] == "apache-2.0"


def test_strength_0_changes_no_bit():
    prompts, seeds = [captions.plain(world.split()[1][0])], [0]
    plain = evaluate.render(evaluate.from_folder(train_lora.FOLDER), prompts, seeds, steps=2)
    none = evaluate.render(evaluate.from_folder(train_lora.FOLDER, SHIPPED, 0.0), prompts, seeds, steps=2)
    full = evaluate.render(evaluate.from_folder(train_lora.FOLDER, SHIPPED), prompts, seeds, steps=2)
    assert torch.equal(plain, none) and not torch.equal(plain, full)


def test_with_it_shapes_are_hollow_and_without_it_filled():
    scenes = world.split()[1][:16]
    with_it = [r for r, _ in evaluate.evaluate(evaluate.from_folder(train_lora.FOLDER, SHIPPED), scenes, "en")]
    without = [r for r, _ in evaluate.evaluate(evaluate.from_folder(train_lora.FOLDER), scenes[:4], "en")]
    assert evaluate.outlines(without)[1] < 0.05 and evaluate.outlines(with_it)[1] > 0.5
    assert evaluate.shares(with_it)["colour"] == 100
