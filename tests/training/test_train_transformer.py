"""Training is repeatable, resumes as if never stopped, and its guides point where the shape is."""

from __future__ import annotations

import sys

import pytest
import torch

from opent2v.training import captions, latents, train_transformer, world


def train(monkeypatch, work, *options):
    arguments = ["train", "--work", str(work), "--steps", "40", "--batch", "2", "--device", "cpu", *options]
    monkeypatch.setattr(sys, "argv", arguments)
    train_transformer.main()
    return torch.load(work / "transformer.pt", weights_only=True)


def test_a_resumed_run_equals_one_that_was_never_stopped(monkeypatch, tmp_path):
    whole = train(monkeypatch, tmp_path / "whole", "--stop", "3", "--guides-from", "1")
    train(monkeypatch, tmp_path / "parts", "--stop", "2", "--guides-from", "1")
    parts = train(monkeypatch, tmp_path / "parts", "--stop", "3", "--guides-from", "1")
    assert whole["step"] == parts["step"] == 3
    for name, weight in whole["pair"].items():
        torch.testing.assert_close(parts["pair"][name], weight, atol=1e-6, rtol=0, msg=name)


def test_a_step_number_alone_fixes_the_batch():
    space, tokens, (scenes, _) = latents.LatentSpace.load(), captions.tokenizer(), world.split()
    first, again, other = (train_transformer.batch(n, 4, scenes, space, tokens, "cpu") for n in (7, 7, 8))
    assert all(torch.equal(a, b) for a, b in zip(first[:5], again[:5], strict=True))
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[3], other[3])
    assert all(scene.scene in scenes for scene in first[5])


def test_every_token_is_told_the_way_to_the_shape():
    scene = world.Scene("circle", "red", "right", "grey")
    take = world.Take(scene, x=(0.25, 0.75), y=(0.5, 0.5), radius=(0.2, 0.2), angle=(0.0, 0.0))
    place = train_transformer.where([take], 5 * 4 * 4).view(5, 4, 4, 3)
    # The first latent frame is the first frame; the top left token's centre is at 1/8.
    torch.testing.assert_close(place[0, 0, 0], torch.tensor([0.125, 0.375, 0.2]))
    # The last latent frame is the mean of frames 13 to 16 of 16 steps: 0.25 + 0.5 * 14.5 / 16.
    torch.testing.assert_close(place[4, 3, 3], torch.tensor([0.703125 - 0.875, -0.375, 0.2]))


def test_the_guides_reward_the_right_answer_and_skip_unsaid_prompts():
    takes = [world.take(world.Scene(shape, "red", "up", "grey"), world.Dice(3)) for shape in ("circle", "star")]
    guides = train_transformer.Guides(8)
    with torch.no_grad():
        for head in (guides.shape, guides.motion, guides.place):
            head.weight.zero_(), head.bias.zero_()
    hidden = torch.zeros(2, 80, 8)
    blind = guides(hidden, takes, torch.tensor([1.0, 1.0])).item()
    with torch.no_grad():
        guides.shape.bias[world.SHAPES.index("circle")] = 9
    assert guides(hidden, takes, torch.tensor([1.0, 0.0])).item() < blind - 0.05
    assert guides(hidden, takes, torch.tensor([0.0, 1.0])).item() > blind + 0.2


def test_the_shipped_latent_space_is_orthonormal_and_inverts_what_it_keeps():
    space = latents.LatentSpace.load()
    torch.testing.assert_close(space.basis.T @ space.basis, torch.eye(latents.CHANNELS), atol=1e-5, rtol=0)
    clip = world.render([world.take(world.Scene("square", "blue", "still", "beige"), world.Dice(1))], latents.SIZE, 5)
    latent = space.encode(clip)
    assert latent.shape == (1, latents.CHANNELS, 2, 8, 8)
    torch.testing.assert_close(space.encode(space.decode(latent))[:, :, 1:], latent[:, :, 1:], atol=1e-3, rtol=0)
    assert (space.decode(latent) - clip).square().mean().item() < 0.02


@pytest.mark.parametrize("flag", ["--start"])
def test_it_goes_on_from_an_exported_folder(monkeypatch, tmp_path, flag):
    from opent2v.training.train_transformer import Pair

    folder = tmp_path / "model"
    pair = Pair(len(captions.tokenizer()))
    pair.transformer.save_pretrained(folder / "transformer")
    pair.text_encoder.save_pretrained(folder / "text_encoder")
    state = train(monkeypatch, tmp_path / "work", "--stop", "1", flag, str(folder))
    # One warm-up step moves weights by far less than a fresh start would differ.
    name = "transformer.blocks.0.attn1.to_q.weight"
    assert (state["pair"][name] - pair.state_dict()[name]).abs().max() < 0.01
