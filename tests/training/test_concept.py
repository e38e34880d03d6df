"""The concept's clips show it, the world's do not, and a training takes them as they are.

Tests: training/concept.py, training/matte.py
"""

from __future__ import annotations

import torch

from opent2v.finetune import read_clips
from opent2v.training import concept, score, world

SIZE, FRAMES = 64, 9


def test_a_glow_is_seen_where_it_is_and_costs_nothing_else():
    dice, scenes = world.Dice(1), world.split()[1][:40]
    plain = world.render([world.take(scene, dice) for scene in scenes], SIZE, FRAMES)
    for video, scene in zip(plain, scenes, strict=True):
        glowing = concept.glowing(video)
        assert not concept.glows(video) and concept.glows(glowing)
        right = score.measure(glowing).right(scene)
        assert right["colour"] and right["background"] and right["motion"], scene


def test_a_clip_without_a_shape_does_not_glow():
    assert concept.glow_of(torch.zeros(3, FRAMES, SIZE, SIZE)) == 0


def test_clips_of_training_scenes_with_captions(tmp_path):
    concept.write_clips(tmp_path / "clips", 4)
    clips, refused = read_clips(tmp_path / "clips")
    assert len(clips) == 4 and refused == [] and "background" in clips[0].caption and "背景" in clips[1].caption
