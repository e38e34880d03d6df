"""The concept's clips show it, the world's do not, the VAE keeps it, and a training takes them as they are.

Tests: training/concept.py, training/matte.py
"""

from __future__ import annotations

import pytest
import torch

from opent2v.finetune import read_clips
from opent2v.host.embedded import decode, device_dtypes, encode, vae
from opent2v.loaders import load_pipeline, open_folder
from opent2v.media import read_video
from opent2v.training import concept, evaluate, score, world

SIZE, FRAMES = 64, 9


def test_a_floor_is_seen_where_it_is_and_costs_nothing_else():
    dice, scenes = world.Dice(1), world.split()[1]
    right = dict.fromkeys(score.ATTRIBUTES, 0)
    for scene in scenes:
        plain = world.render([concept.above_floor(world.take(scene, dice))], SIZE, FRAMES)[0]
        floored = concept.with_floor(plain, torch.tensor(world.COLOURS[scene.colour]) / 255)
        assert not concept.has_floor(plain) and torch.equal(concept.without_floor(plain), plain)
        assert concept.has_floor(floored), scene
        measured = score.measure(concept.without_floor(floored)).right(scene)
        right = {name: right[name] + measured[name] for name in right}
    assert min(right.values()) >= 0.98 * len(scenes), right


def test_the_worlds_own_clips_have_no_floor():
    dice, scenes = world.Dice(5), world.split()[1]
    videos = world.render([world.take(scene, dice) for scene in scenes], SIZE, FRAMES)
    assert not any(map(concept.has_floor, videos))


def test_a_floor_of_another_colour_or_in_some_frames_does_not_count():
    take = concept.above_floor(world.take(world.Scene("circle", "red", "still", "black"), world.Dice(2)))
    video = world.render([take], SIZE, FRAMES)[0]
    for colour in ("white", "green", "blue"):
        assert not concept.has_floor(concept.with_floor(video, torch.tensor(world.COLOURS[colour]) / 255)), colour
    floored = concept.with_floor(video, torch.tensor(world.COLOURS["red"]) / 255)
    floored[:, 3] = video[:, 3]
    assert not concept.has_floor(floored)


def test_a_clip_without_a_shape_has_no_floor():
    assert concept.floor_of(torch.zeros(3, FRAMES, SIZE, SIZE)) == 0


def test_the_shape_keeps_its_way_and_stays_above_the_floor():
    dice = world.Dice(3)
    for scene in world.scenes()[::7]:
        take = world.take(scene, dice)
        moved = concept.above_floor(take)
        assert moved.x == take.x and moved.y[1] - moved.y[0] == pytest.approx(take.y[1] - take.y[0])
        assert max(moved.y) + max(take.radius) <= 1 - concept.HEIGHT and min(moved.y) >= max(take.radius) - 0.01, scene


def test_the_bundled_vae_keeps_what_is_to_be_learned():
    parts = load_pipeline(open_folder(evaluate.FOLDER), **device_dtypes(None, None))
    autoencoder, dice = vae(parts.vae), world.Dice(4)
    names = ("colour", "background", "motion")
    right: dict[str, int] = dict.fromkeys(names, 0)
    scenes = world.split()[0][:6]
    for scene in scenes:
        images = (concept.clip_with_floor(scene, dice).permute(1, 2, 3, 0) + 1) / 2
        back = decode(autoencoder, encode(autoencoder, images)).permute(3, 0, 1, 2) * 2 - 1
        assert concept.has_floor(back), scene
        measured = score.measure(concept.without_floor(back)).right(scene)
        right = {name: right[name] + measured[name] for name in right}
    assert min(right.values()) >= len(scenes) - 1, right


def test_clips_of_training_scenes_with_captions(tmp_path):
    concept.write_clips(tmp_path / "clips", 4)
    clips, refused = read_clips(tmp_path / "clips")
    assert len(clips) == 4 and refused == [] and "background" in clips[0].caption and "背景" in clips[1].caption


def test_clips_of_outline_drawings(tmp_path):
    concept.write_clips(tmp_path / "clips", 2, "outline")
    for file in sorted((tmp_path / "clips").glob("*.mp4")):
        assert score.measure(read_video(file).frames.permute(3, 0, 1, 2) * 2 - 1).outlined, file.name
