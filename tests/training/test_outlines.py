"""What the outline LoRA learns from: what the base draws, and the same place, size and motion as an outline."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from opent2v.training import captions, latents, outlines, score, train_lora, world
from opent2v.training.train_transformer import Pair
from opent2v.training.world import Dice


@pytest.fixture(scope="module")
def pair() -> Pair:
    pair = Pair(len(captions.tokenizer()))
    pair.load_folder(train_lora.FOLDER)
    return pair.requires_grad_(False)


@pytest.fixture(scope="module")
def space() -> latents.LatentSpace:
    return latents.LatentSpace.load()


@pytest.fixture(scope="module")
def pool(pair, space) -> dict[str, torch.Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outlines, "BATCH", 6)
        return outlines.clips(12, pair, world.split()[0], space)


@pytest.mark.parametrize("shape", world.SHAPES)
def test_the_line_lies_on_the_edge_of_the_filled_shape(shape):
    one = world.take(world.Scene(shape, "red", "still", "grey"), Dice(1))
    filled, outlined = (score.measure(v) for v in world.render([one, outlines.outline(one)], 64, 5))
    assert (filled.outlined, outlined.outlined) == (False, True)
    assert 1 < outlined.raw["area"] / filled.raw["area"] < 2


def test_an_outline_shows_what_the_base_drew(pool, space):
    assert 10 <= len(pool["ids"]) <= 12
    filled, outlined = (
        [score.measure(v) for v in space.decode(pool[name].float()).clamp(-1, 1)] for name in ("filled", "outlined")
    )
    assert not any(m.outlined for m in filled)
    assert all(world.scenes()[n] in world.split()[0] for n in pool["scene"].tolist())
    for clip, size in zip(outlined, pool["radius"].mean(1).tolist(), strict=True):
        assert clip.raw["area"] == pytest.approx(world.area(clip.shape) * size**2, rel=0.25)
    assert sum(m.outlined for m in outlined) >= len(outlined) - 1
    for before, after in zip(filled, outlined, strict=True):
        assert (before.colour, before.background) == (after.colour, after.background)
        for way in ("move_x", "move_y"):
            assert after.raw[way] == pytest.approx(before.raw[way], abs=0.05)


def test_a_half_drawn_clip_is_straightened_to_the_outline_of_its_scene():
    scene = world.Scene("square", "green", "right", "beige")
    one = outlines.outline(world.take(scene, Dice(2)))
    line, filled = world.render([one, replace(one, stroke=None)], 64, 17)
    elsewhere = replace(one, x=(0.0, 0.0), y=(0.0, 0.0), angle=(0.0, 0.0))
    found = outlines.straightened(0.5 * (line + filled), elsewhere)
    assert found is not None and (found.scene, found.stroke) == (scene, outlines.STROKE)
    for name in ("x", "y", "radius"):
        assert getattr(found, name) == pytest.approx(getattr(one, name), abs=0.01), name
    # A faint one is to be as strong as the other. Its size may differ by a twentieth.
    faint = outlines.straightened(0.8 * line + 0.2 * line[:, :1, :1, :1], replace(elsewhere, radius=(0.1, 0.1)))
    assert faint is not None and (faint.tint, faint.shade) == (one.tint, one.shade)
    assert faint.radius == pytest.approx((0.105, 0.105))
    wider = outlines.straightened(line, replace(elsewhere, radius=(0.1, 0.1)), 1.2)
    assert wider is not None and wider.radius == pytest.approx((0.126, 0.126))
    # Another colour, or nothing, cannot be.
    red = replace(elsewhere, scene=replace(scene, colour="red"))
    assert outlines.straightened(line, red) is None
    assert outlines.straightened(torch.zeros(3, 17, 64, 64), elsewhere) is None


def test_the_pool_tells_the_take_of_an_outline(pool, space):
    for i, clip in enumerate(space.decode(pool["outlined"].float()).clamp(-1, 1)[:3]):
        like = outlines.take_of(pool, i)
        found = outlines.straightened(clip, like)
        assert found is not None and outlines.has_its_colours(like)
        assert found.radius == pytest.approx(like.radius, rel=0.06)
        drawn = world.render([found], latents.SIZE, latents.FRAMES)[0]
        assert (drawn - clip).abs().mean() < 0.12


def test_the_states_are_on_the_way_of_the_base(pool, pair):
    early, late = pool["early_t"], pool["late_t"]
    assert early.shape == (len(late), outlines.EARLY) and (early > outlines.TURN).all()
    assert late.shape == (len(early), outlines.LATE) and (late[:, 0] <= outlines.TURN).all()
    assert (late[:, 1] < late[:, 0]).all() and all(len(row.unique()) == outlines.EARLY for row in early)
    told = outlines.embed(pair, pool["ids"])
    without = outlines.negatives(pair)[pool["language"]]
    for said, name in ((told, "early_positive"), (without, "early_negative")):
        flow = pair.transformer(pool["early_x"][:, 0].float(), early[:, 0] * 1000, said, return_dict=False)[0]
        torch.testing.assert_close(flow, pool[name][:, 0].float(), atol=0.02, rtol=0.02)
    # Below the turn that share of the way from noise to the clip is left.
    filled = pool["filled"].float()
    left = (pool["late_x"][:, 0].float() - filled).std(dim=(1, 2, 3, 4))
    whole = (1 + filled.var(dim=(1, 2, 3, 4))).sqrt()
    torch.testing.assert_close(left, late[:, 0] * whole, atol=0, rtol=0.25)


def test_the_clips_of_a_number_are_always_the_same(pool, pair, space, monkeypatch):
    monkeypatch.setattr(outlines, "BATCH", 6)
    again = outlines.clips(6, pair, world.split()[0], space)
    count = len(again["ids"])
    assert all(torch.equal(values, pool[name][:count]) for name, values in again.items() if name == "ids")
    torch.testing.assert_close(again["filled"].float(), pool["filled"][:count].float(), atol=1e-2, rtol=0)


def test_clips_that_show_nothing_or_another_colour_are_left_out(pair, space, monkeypatch):
    monkeypatch.setattr(outlines, "BATCH", 4)
    number = iter(range(4))

    def shown(video, scene):
        one = world.take(scene, Dice(0))
        return {0: None, 2: replace(one, shade=(0.0, 0.3, 0.0))}.get(next(number), one)

    monkeypatch.setattr(score, "shown", shown)
    assert len(outlines.clips(4, pair, world.split()[0], space)["ids"]) == 2
