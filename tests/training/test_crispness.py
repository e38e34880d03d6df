"""The crispness of a clip against its drawn truth: perfect, blurred, ringing, grainy and flickering clips."""

from __future__ import annotations

import pytest
import torch

from opent2v.training import world
from opent2v.training.crispness import crispness
from opent2v.training.world import Dice, Scene

SIZE, FRAMES = 96, 5


def clip(scene: Scene, seed: int = 1) -> tuple[torch.Tensor, world.Take]:
    take = world.take(scene, Dice(seed))
    return world.render([take], SIZE, FRAMES)[0], take


@pytest.mark.parametrize("shape", world.SHAPES)
@pytest.mark.parametrize("motion", ["right", "shrinking"])
def test_the_drawn_truth_is_perfect(shape, motion):
    found = crispness(*clip(Scene(shape, "yellow", motion, "beige")))
    assert found["edges"] == pytest.approx(1, abs=1e-3)
    assert found["grain"] < 0.01 and found["flicker"] < 0.01


def test_a_blur_costs_edges_and_leaves_the_ground():
    video, take = clip(Scene("square", "red", "up", "grey"))
    blurred = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(video, [1] * 4, mode="replicate"), 3, 1)
    found = crispness(blurred, take)
    assert 0.3 < found["edges"] < 0.75
    assert found["grain"] < 0.01


def test_a_shape_a_pixel_off_is_as_crisp():
    video, take = clip(Scene("star", "white", "left", "black"))
    assert crispness(video.roll(1, -1), take)["edges"] == pytest.approx(1, abs=0.02)


def test_ringing_counts_as_more_than_crisp():
    video, take = clip(Scene("circle", "blue", "still", "grey"))
    soft = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(video, [1] * 4, mode="replicate"), 3, 1)
    assert crispness(video + 0.5 * (video - soft), take)["edges"] > 1.1


def test_grain_and_flicker_are_told_in_steps_of_255():
    video, take = clip(Scene("triangle", "green", "down", "black"))
    noise = torch.randn(video.shape, generator=torch.Generator().manual_seed(0))
    still_grain = crispness(video + noise[:, :1] * 4 / 127.5, take)
    assert still_grain["grain"] == pytest.approx(4, rel=0.05) and still_grain["flicker"] < 0.01
    steps = torch.tensor([0.0, 1, 0, 1, 0]).view(1, -1, 1, 1)
    pulse = crispness(video + steps * 3 / 127.5, take)
    assert pulse["flicker"] == pytest.approx(3, rel=0.05) and pulse["grain"] < 0.01
