"""The recipe of the bundled model: lessons, latent space, encoder, decoder, training that resumes, and its export."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from opent2v.training import (
    captions,
    export,
    latents,
    lessons,
    machine,
    muon,
    start,
    train_transformer,
    train_vae,
    world,
)
from opent2v.training.linear_encoder import set_linear_encoder
from opent2v.training.vae import draw, new_vae


@pytest.fixture(scope="module")
def space() -> latents.LatentSpace:
    return latents.fit(clips=20)


@pytest.fixture
def work(tmp_path, space):
    """A run's folder whose latent space is fitted already."""

    def folder(name: str):
        path = tmp_path / name
        path.mkdir()
        space.save(path / "latent_space.safetensors")
        return path

    return folder


@pytest.fixture(scope="module")
def tokens():
    return captions.tokenizer()


def clip(*scene: str, frames: int = 5) -> torch.Tensor:
    return world.render([world.take(world.Scene(*scene), world.Dice(1))], latents.SIZE, frames)


def test_the_latent_space_inverts_what_it_keeps(space):
    torch.testing.assert_close(space.basis.T @ space.basis, torch.eye(latents.CHANNELS), atol=1e-5, rtol=0)
    video = clip("square", "blue", "still", "beige")
    latent = space.encode(video)
    assert latent.shape == (1, latents.CHANNELS, 2, 8, 8)
    torch.testing.assert_close(space.encode(space.decode(latent))[:, :, 1:], latent[:, :, 1:], atol=1e-3, rtol=0)
    assert (space.decode(latent) - video).square().mean().item() < 0.02


def test_a_run_fits_its_space_once(tmp_path, space, monkeypatch):
    monkeypatch.setattr(latents, "fit", lambda: space)
    first = latents.LatentSpace.of(tmp_path)
    monkeypatch.setattr(latents, "fit", None)
    assert torch.equal(latents.LatentSpace.of(tmp_path).basis, first.basis)


def test_lessons_grow_from_pictures_to_whole_clips():
    rounds = [[lessons.plan(step, 1000) for step in range(*part)] for part in ((0, 30), (30, 100), (100, 1000))]
    longest = [max(length for length, _ in r) for r in rounds]
    assert longest == [3, 9, 9]
    whole = [sum(length == 9 for length, _ in r) / len(r) for r in rounds]
    assert whole[0] == 0 < whole[1] < whole[2]
    assert all(any(given for _, given in r) for r in rounds), "every round has lessons that go on from a picture"
    rounds.append([lessons.plan(1000 + step, 1000) for step in range(10)])
    assert all(given < length for r in rounds for length, given in r)
    assert {length for r in rounds for length, _ in r} <= set(lessons.CLIPS)


def test_what_takes_longest_to_learn_comes_more_often():
    scenes, steps = world.split()[0], 1000
    parts = [lessons.emphasis(step, steps) for step in (0, 499, 500, 999, 1000, 1999)]
    every = (lessons.FIRST_HALF, lessons.SECOND_HALF, lessons.AFTER)
    assert parts == [more for more in every for _ in range(2)]
    for more in every:
        chosen = lessons.chosen(scenes, more)
        assert set(chosen) == set(scenes)
        times = {scene: chosen.count(scene) for scene in scenes}
        assert {n for scene, n in times.items() if scene.motion == "rotating"} == {more.rotating}
        rest = {scene: n for scene, n in times.items() if scene.motion != "rotating"}
        assert {n for scene, n in rest.items() if scene.shape == "star"} == {more.star}
        assert {n for scene, n in rest.items() if scene.shape == "circle"} == {more.circle}
        assert {n for scene, n in rest.items() if scene.shape in ("square", "triangle")} == {1}


def test_after_the_schedules_end_lessons_are_noisier_and_mostly_from_words(space, tokens):
    steps, scenes = 1000, world.split()[0]
    after = [lessons.plan(step, steps) for step in range(steps, 2 * steps)]
    before = [lessons.plan(step, steps) for step in range(steps)]
    from_words = [sum(lesson == (9, 0) for lesson in lot) / len(lot) for lot in (before, after)]
    assert from_words[1] > 0.6 > from_words[0]
    assert any(given for _, given in after), "going on from a picture is not forgotten"
    shares = [
        lessons.draw(3, 1, 0, scenes, space, tokens, shift=more.shift).t
        for more in (lessons.SECOND_HALF, lessons.FIRST_HALF, lessons.AFTER)
    ]
    much = [float((share > 0.8).float().mean()) for share in shares]
    assert much == sorted(much) and much[-1] > 0.55
    assert shares[-1].min() < 0.2, "outlines are not forgotten"


def test_a_number_alone_fixes_the_lesson(space, tokens):
    scenes, held_out = world.split()
    first, again, other = (lessons.draw(n, 3, 1, scenes, space, tokens, clips=4) for n in (7, 7, 8))
    for name, value in vars(first).items():
        same = torch.equal(value, getattr(again, name)) if torch.is_tensor(value) else value == getattr(again, name)
        assert same, name
    assert not torch.equal(first.clean, other.clean) and not torch.equal(first.noise, other.noise)
    assert first.clean.shape == (4, latents.CHANNELS, 3, 8, 8) and first.residue.shape[2] == 1
    assert not {t.scene for t in first.takes} & set(held_out)


def test_a_window_is_what_the_whole_clip_shows_in_that_time():
    one = world.take(world.Scene("star", "red", "rotating", "grey"), world.Dice(2))
    whole = world.render([one], 48, latents.FRAMES)
    cut = world.render([lessons.window(one, 10, 9)], 48, 9)
    torch.testing.assert_close(cut, whole[:, :, 10:19], atol=1e-3, rtol=0)


def test_every_token_is_told_the_way_to_the_shape_and_how_it_is_turned():
    scene = world.Scene("square", "red", "right", "grey")
    upright = world.UPRIGHT["square"]
    take = world.Take(scene, x=(0.25, 0.75), y=(0.5, 0.5), radius=(0.2, 0.2), angle=(upright, upright + torch.pi / 4))
    place, angle, turns = train_transformer.where([take], 5, 4)
    place, angle = place.view(5, 4, 4, 3), angle.view(5, 4, 4, 2)
    # The first latent frame is the first frame; the top left token's centre is at 1/8.
    torch.testing.assert_close(place[0, 0, 0], torch.tensor([0.125, 0.375, 0.2]))
    # The last latent frame is the mean of frames 13 to 16 of 16 steps: 0.25 + 0.5 * 14.5 / 16.
    torch.testing.assert_close(place[4, 3, 3], torch.tensor([0.703125 - 0.875, -0.375, 0.2]))
    # An eighth of a turn is half of what a square needs to look the same again.
    torch.testing.assert_close(angle[0, 2, 1], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(angle[4, 0, 0], torch.tensor([torch.pi * 14.5 / 16]).cos().repeat(2), atol=2, rtol=0)
    assert angle[4, 0, 0, 0] < -0.9 and turns.tolist() == [1.0]
    circle = world.take(world.Scene("circle", "red", "up", "grey"), world.Dice(1))
    assert train_transformer.where([circle], 1, 4)[2].tolist() == [0.0]


def test_the_guides_reward_the_right_answer_and_skip_unsaid_prompts(space, tokens):
    lesson = lessons.draw(1, 3, 0, world.split()[0], space, tokens, clips=2)
    shapes = [world.Scene(shape, "red", "up", "grey") for shape in ("circle", "star")]
    vars(lesson)["takes"][:] = [world.take(scene, world.Dice(3)) for scene in shapes]
    guides = train_transformer.Guides(8)
    with torch.no_grad():
        for p in guides.parameters():
            p.zero_()
    hidden = torch.zeros(2, 48, 8)
    lesson.prompted[:] = 1
    blind = guides(hidden, lesson).item()
    with torch.no_grad():
        guides.shape.bias[world.SHAPES.index("circle")] = 9
    lesson.prompted[:] = torch.tensor([1.0, 0.0])
    assert guides(hidden, lesson).item() < blind - 0.05
    lesson.prompted[:] = torch.tensor([0.0, 1.0])
    assert guides(hidden, lesson).item() > blind + 0.2


def test_given_frames_are_neither_noisy_nor_learned(space, tokens):
    lesson = lessons.draw(1, 3, 1, world.split()[0], space, tokens, clips=2)
    seen = []

    class Spy(train_transformer.Pair):
        def forward(self, x, t, context, given=0):
            seen.append((x, given))
            return torch.zeros_like(x)

    loss = train_transformer.flow_loss(Spy(len(tokens)), lesson)
    x, given = seen[0]
    assert given == 1
    torch.testing.assert_close(x[:, :, 0], lesson.clean[:, :, 0], atol=0.5, rtol=0)
    assert (x[:, :, 1:] - lesson.clean[:, :, 1:]).abs().max() > 0.5
    error = (lesson.noise - lesson.clean)[:, :, 1:]
    change = (error[:, :, 1:] - error[:, :, :-1]).square().mean((1, 2, 3, 4)) / 2
    weighed = error.square().mean((1, 2, 3, 4)) + change
    torch.testing.assert_close(loss, (weighed * lesson.t).mean() / lesson.t.mean())


def test_given_frames_have_timestep_0_for_each_of_their_tokens(tokens):
    pair, seen = train_transformer.Pair(len(tokens)), []
    pair.transformer.forward = lambda x, t, context, **_: seen.append(t) or (x,)
    x = torch.zeros(2, latents.CHANNELS, 3, 8, 8)
    pair(x, torch.tensor([0.25, 0.5]), None, clean_frames=1)
    pair(x, torch.tensor([0.25, 0.5]), None)
    assert seen[0].shape == (2, 48)
    assert seen[0][:, :16].eq(0).all() and seen[0][0, 16:].eq(250).all() and seen[0][1, 16:].eq(500).all()
    assert seen[1].tolist() == [250, 500]


def test_muon_sets_singular_values_to_about_one_and_moves_against_the_gradient():
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 12, 40), (3, 40, 12)):
        values = torch.linalg.svdvals(muon.orthogonal(torch.randn(shape, generator=generator)))
        assert values.min() > 0.6 and values.max() < 1.3
    start = torch.randn(8, 4, 3, 3, generator=generator)
    weights = [torch.nn.Parameter(start.clone()), torch.nn.Parameter(-start)]
    solver = muon.Muon(weights, lr=0.05)
    (weights[0].square().sum() + weights[1].square().sum()).backward()
    solver.step()
    for weight, before in zip(weights, (start, -start), strict=True):
        change = weight.detach() - before
        values = torch.linalg.svdvals(change.flatten(1))
        assert values.min() > 0.6 * 0.05 and values.max() < 1.3 * 0.05
        assert (change * before).sum() < 0


def test_bfloat16_comes_near_float32(space, tokens):
    torch.manual_seed(0)
    lesson, pair = lessons.draw(1, 3, 1, world.split()[0], space, tokens, clips=2), train_transformer.Pair(len(tokens))
    exact = train_transformer.flow_loss(pair, lesson)
    with machine.mixed_precision("cpu", True):
        near = train_transformer.flow_loss(pair, lesson)
    assert near != exact and near.item() == pytest.approx(exact.item(), rel=1e-3)
    assert not torch.is_autocast_enabled("cpu") and not torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    values = torch.linalg.svdvals(muon.orthogonal(torch.randn(2, 12, 40), torch.bfloat16))
    assert values.min() > 0.6 and values.max() < 1.3


def test_a_resumed_transformer_equals_one_that_was_never_stopped(work):
    whole, parts = work("whole"), work("parts")
    train_transformer.train(whole, steps=40, stop=3, clips=2)
    train_transformer.train(parts, steps=40, stop=2, clips=2)
    train_transformer.train(parts, steps=40, stop=3, clips=2)
    expected, found = (torch.load(path / "transformer.pt", weights_only=True) for path in (whole, parts))
    assert expected["step"] == found["step"] == 3
    for part in ("pair", "average", "guides"):
        for name, weight in expected[part].items():
            torch.testing.assert_close(found[part][name], weight, atol=1e-6, rtol=0, msg=f"{part}: {name}")
    assert found["seconds"] > 0
    assert json.loads((parts / "transformer.jsonl").read_text().splitlines()[-1])["step"] == 3


@pytest.fixture
def exported(tokens, tmp_path):
    """A model folder of this generation with small VAE, and its pair."""
    torch.manual_seed(4)
    pair = train_transformer.Pair(len(tokens))
    folder = tmp_path / "exported"
    export.write_folder(folder, pair.transformer, pair.text_encoder, new_vae(), export.OWN)
    return folder, pair


def test_a_model_of_this_generation_goes_on_with_the_lessons_of_the_end(exported, tmp_path, monkeypatch):
    (folder, pair), work, drawn = exported, tmp_path / "work", []
    draw = lessons.draw
    monkeypatch.setattr(lessons, "draw", lambda number, *a: drawn.append((number, a[6])) or draw(number, *a))
    train_transformer.train(work, steps=40, stop=1, clips=2, rate=1e-9, start=folder)
    state = torch.load(work / "transformer.pt", weights_only=True)
    for name, weight in pair.state_dict().items():
        torch.testing.assert_close(state["pair"][name], weight.float(), atol=1e-6, rtol=0, msg=name)
    for name in ("mean", "basis", "scale"):  # the space of the shipped model, not one that is fitted here
        assert torch.equal(
            load_file(work / "latent_space.safetensors")[name], getattr(latents.LatentSpace.load(), name)
        )
    # A checkpoint knows what it goes on from, and another model folder does not change it.
    train_transformer.train(work, steps=40, stop=2, clips=2, start=tmp_path / "none")
    assert drawn == [(40, lessons.AFTER.shift), (41, lessons.AFTER.shift)]
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    latents.LatentSpace.load().save(fresh / "latent_space.safetensors")
    train_transformer.train(fresh, steps=40, stop=1, clips=2)
    assert drawn[2:] == [(0, lessons.FIRST_HALF.shift)]


def test_an_export_keeps_the_folders_vae_where_the_run_has_none(exported, tmp_path):
    (folder, _), work = exported, tmp_path / "work"
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    train_transformer.train(work, steps=40, stop=2, clips=2, start=folder)
    with pytest.raises(SystemExit, match=r"vae\.pt is not there, nor a VAE in .*other: train one, or copy"):
        export.export(work, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    export.export(work, folder)
    after = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    assert vae.keys() == after.keys() and all(torch.equal(vae[name], after[name]) for name in vae)
    state = torch.load(work / "transformer.pt", weights_only=True)["average"]
    written = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(value, state[f"transformer.{name}"].half()) for name, value in written.items())


def test_the_generation_before_is_carried_over_into_the_new_latents(space, tokens, tmp_path):
    torch.manual_seed(3)
    earlier, pair = train_transformer.Pair(len(tokens)), train_transformer.Pair(len(tokens))
    earlier.transformer.save_pretrained(tmp_path / "transformer")
    earlier.text_encoder.save_pretrained(tmp_path / "text_encoder")
    start.carry_over(pair, tmp_path, space)
    there, back = start.between(space, latents.LatentSpace.load(start.FILE))
    x = torch.randn(1, 16, 1, 2, 2)
    mapped = torch.einsum("bithw,ik->bkthw", x, there)
    torch.testing.assert_close(
        pair.transformer.patch_embedding(x), earlier.transformer.patch_embedding(mapped), atol=1e-5, rtol=1e-5
    )
    hidden = torch.randn(1, 1, 192)
    torch.testing.assert_close(
        pair.transformer.proj_out(hidden).unflatten(-1, (4, 16)),
        earlier.transformer.proj_out(hidden).unflatten(-1, (4, 16)) @ back,
        atol=1e-5,
        rtol=1e-5,
    )
    for part in ("transformer", "text_encoder"):
        theirs, ours = (getattr(one, part).state_dict() for one in (earlier, pair))
        rest = [name for name in theirs if not name.startswith(("patch_embedding.weight", "proj_out"))]
        assert rest and all(torch.equal(theirs[name], ours[name]) for name in rest)


def test_a_lora_of_the_generation_before_draws_in_the_new_latents(space, tmp_path):
    _, back = start.between(space, latents.LatentSpace.load(start.FILE))
    inner, last = (f"transformer.{name}.lora_B.weight" for name in ("blocks.0.attn1.to_q", "proj_out"))
    save_file({inner: torch.ones(192, 2).half(), last: torch.randn(64, 2)}, tmp_path / "lora.safetensors")
    found = start.carry_over_lora(tmp_path / "lora.safetensors", space)
    assert torch.equal(found[inner], torch.ones(192, 2))
    before = load_file(tmp_path / "lora.safetensors")[last]
    hidden = torch.randn(2)
    torch.testing.assert_close(
        (found[last] @ hidden).view(4, 16), (before @ hidden).view(4, 16) @ back, atol=1e-5, rtol=1e-5
    )


def test_both_latent_spaces_say_nearly_the_same_of_a_clip(space):
    there, _ = start.between(space, latents.LatentSpace.load(start.FILE))
    take = world.take(world.Scene("star", "red", "growing", "beige"), world.Dice(3))
    new = space.encode(world.render([take], latents.SIZE, latents.FRAMES))[:, :, ::2]
    old = latents.LatentSpace.load(start.FILE).encode(world.render([take], start.EARLIER_SIZE, start.EARLIER_FRAMES))
    found = torch.einsum("bithw,ik->bkthw", new, there)
    found = found - found.mean((0, 2, 3, 4), keepdim=True) + old.mean((0, 2, 3, 4), keepdim=True)
    assert (found - old).var() < 0.1 * old.var()


def test_what_changes_over_half_a_clip_counts_twice(space, tokens):
    lesson = lessons.draw(1, 5, 0, world.split()[0], space, tokens, clips=2)
    target = lesson.noise - lesson.clean
    still, moving = torch.full_like(target, 0.1), torch.zeros_like(target)
    moving[:, :, :2], moving[:, :, 3:] = 0.1, -0.1

    class Off(train_transformer.Pair):
        error = still

        def forward(self, x, t, context, given=0):
            return target + self.error

    pair = Off(len(tokens))
    losses = [train_transformer.flow_loss(pair, lesson).item()]
    pair.error = moving
    losses.append(train_transformer.flow_loss(pair, lesson).item())
    assert losses[0] == pytest.approx(0.01, rel=1e-4) and losses[1] > 1.5 * losses[0]


def test_workers_draw_the_same_in_the_same_order():
    from opent2v.training.machine import ahead

    def draw(number):
        return torch.full((2,), number) + torch.rand(2, generator=torch.Generator().manual_seed(number))

    alone, helped = (list(ahead(draw, range(3, 14), workers)) for workers in (0, 2))
    assert len(alone) == 11 and all(torch.equal(a, b) for a, b in zip(alone, helped, strict=True))
    early = ahead(draw, range(1000), 2)
    assert int(next(early)[0]) == 0
    early.close()  # ends the other processes


def test_the_encoder_holds_the_linear_space(space):
    vae = new_vae().eval()
    set_linear_encoder(vae.encoder, space)
    with torch.no_grad():
        vae.quant_conv.weight.zero_(), vae.quant_conv.bias.zero_()
        vae.quant_conv.weight[: latents.CHANNELS, : latents.CHANNELS, 0, 0, 0] = torch.eye(latents.CHANNELS)
        video = clip("star", "red", "right", "beige", frames=9)
        found = vae.encode(video).latent_dist.mode()
    # A share of what 20 clips leave undecided; 1e-5 and less with the space of a run.
    assert (found - space.encode(video)).square().mean() < 2e-3


def test_the_fast_decoder_equals_diffusers_own():
    vae = new_vae().eval()
    with torch.no_grad():
        for p in vae.decoder.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
        for attention in vae.decoder.mid_block.attentions:
            attention.proj.weight.zero_(), attention.proj.bias.zero_()
        z = torch.randn(1, latents.CHANNELS, 3, 2, 3, generator=torch.Generator().manual_seed(0))
        theirs = vae.decode(z).sample
        ours = draw(vae.decoder, vae.post_quant_conv(z))
    assert theirs.shape == ours.shape == (1, 3, 9, 24, 36)
    torch.testing.assert_close(ours.clamp(-1, 1), theirs, atol=1e-4, rtol=0)


def test_a_resumed_decoder_equals_one_that_was_never_stopped(work):
    whole, parts = work("whole"), work("parts")
    train_vae.train(whole, steps=40, stop=3)
    train_vae.train(parts, steps=40, stop=1)
    train_vae.train(parts, steps=40, stop=3)
    expected, found = (torch.load(path / "vae.pt", weights_only=True) for path in (whole, parts))
    assert expected["step"] == found["step"] == 3
    for part in ("weights", "average"):
        for name, weight in expected[part].items():
            torch.testing.assert_close(found[part][name], weight, atol=1e-6, rtol=0, msg=f"{part}: {name}")


def test_the_decoder_is_asked_for_edges_and_calm():
    video = clip("square", "white", "still", "black")
    offset = train_vae.picture_loss(video + 0.1, video)[0]
    grain = torch.randn(video.shape, generator=torch.Generator().manual_seed(0)).sign() * 0.1
    # The same mean square, once as an even shift, once as grain that stands still, once as grain that moves.
    still = train_vae.picture_loss(video + grain[:, :, :1], video)[0]
    moving = train_vae.picture_loss(video + grain, video)[0]
    assert offset < still < moving


def test_steep_edges_are_asked_for_wherever_they_lie():
    video = clip("star", "white", "right", "black")
    soft = torch.nn.functional.avg_pool3d(video, (1, 3, 3), 1, (0, 1, 1), count_include_pad=False)

    def steep(drawn):
        return (train_vae.picture_loss(drawn, video, 1.0)[0] - train_vae.picture_loss(drawn, video)[0]).item()

    assert steep(video.roll(2, -1)) < 1e-3 < 0.01 < steep(soft)
    assert steep(video + 0.5 * (video - soft)) > 0.005, "halos cost, too"


def test_an_export_runs_in_the_pipelines_for_words_and_for_pictures(work, tmp_path):
    from diffusers import WanImageToVideoPipeline, WanPipeline

    from opent2v.training import evaluate
    from opent2v.training.export import export

    run, out = work("run"), tmp_path / "model"
    train_transformer.train(run, steps=40, stop=1, clips=2)
    train_vae.train(run, steps=40, stop=1)
    export(run, out)
    assert sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) < 15e6
    asked = dict(width=96, height=96, num_inference_steps=1, max_sequence_length=32, output_type="pt")
    pipe = WanPipeline.from_pretrained(out, torch_dtype=torch.float32)
    assert pipe.config.expand_timesteps
    assert pipe("a red star", num_frames=5, **asked).frames.shape == (1, 5, 3, 96, 96)
    picture = (clip("star", "red", "right", "beige", frames=1)[:, :, 0] + 1) / 2
    pipe = WanImageToVideoPipeline.from_pretrained(out, torch_dtype=torch.float32)
    assert pipe(picture, "a red star", num_frames=5, **asked).frames.shape == (1, 5, 3, 96, 96)
    source = evaluate.from_folder(out)
    (record, video), *_ = evaluate.evaluate(source, world.split()[1][:1], "en", pictures=True, steps=1)
    assert video.shape == (3, 33, 96, 96) and "first_frame" in record
    larger = evaluate.from_folder(out, size=144, frames=5)
    assert evaluate.render(larger, ["a red star"], [1], steps=1).shape == (1, 3, 5, 144, 144)
