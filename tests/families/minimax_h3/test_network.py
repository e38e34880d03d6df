"""One call of MiniMax H3 equals diffusers' class.

Tests: families/minimax_h3/network.py, families/minimax_h3/layout.py, families/minimax_h3/pictures.py
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from opent2v.base import FamilyError, Pictures, VideoModel
from opent2v.families.minimax_h3 import layout
from opent2v.families.minimax_h3.network import SHOWN_SHARES
from opent2v.host import embedded
from opent2v.loaders import load_model, open_file
from opent2v.sampling import SamplerRequest, SamplingError, describe, plan_run
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import minimax_h3 as tiny

pytest.importorskip("diffusers", "0.40")
SHAPES = (1, 24, 7, 4, 6), (1, 32, 2, 37)


def loaded(kind: str, tmp_path, **how: Any) -> VideoModel:
    return load_model(
        open_file(tiny.save(tmp_path / f"{kind}.safetensors", tiny.originals(kind, **how))), torch.float32
    )


def streams(seed: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def entry(**further: Any) -> dict[str, Any]:
    context = torch.randn(1, 9, tiny.TEXT, generator=torch.Generator().manual_seed(1))
    return {"cross_attn": context, "denoise_mask": None, "seed": 5, **further}


def called(model: VideoModel, x: list[torch.Tensor], sigma: float, **further: Any) -> list[torch.Tensor]:
    conditions = model.prepare(model.conditions(entry(**further), list(SHAPES)))
    with torch.inference_mode():
        return model.predict(x, torch.tensor([sigma * 1000]), conditions)


def diffusers_class() -> Any:
    from diffusers import MiniMaxH3Transformer3DModel

    transformer = MiniMaxH3Transformer3DModel(**tiny.variant_of("full")[0]).eval()
    transformer.load_state_dict(tiny.transformer("full"))
    return transformer


@pytest.mark.parametrize("sigma", [1.0, 0.63, 0.05])
def test_words_alone_equal_diffusers_class(tmp_path, sigma):
    x = streams()
    sound_sigma = sigma / (sigma + 4 * (1 - sigma))  # shift 3 where the video has 12
    carried = [x[0], x[1] * (sigma / sound_sigma)]
    flow = called(loaded("full", tmp_path), carried, sigma)
    places = [torch.arange(9.0)[:, None] * torch.tensor([1.0, 0, 0]),
              layout.sound_places(37, 9.0, (32 * (1 - 1.5**0.5) / 2, 32 * (1 + 1.5**0.5) / 2 - 32 * 1.5**0.5 / 3)),
              layout.video_places((7, 4, 6), 9.0)]  # fmt: skip
    text, sound = 9, 74
    tags = torch.tensor([1] * text + [2] * sound + [0] * 42)
    with torch.inference_mode():
        video_out, sound_out = diffusers_class()(
            layout.video_rows(x[0]), layout.sound_rows(x[1]), entry()["cross_attn"],
            torch.tensor([1 - sigma, 1 - sound_sigma]), (tags == 2).long(), tags, torch.cat(places).float(),
            torch.arange(text + sound, len(tags)), torch.arange(text, text + sound), torch.arange(text),
            return_dict=False,
        )  # fmt: skip
    assert torch.allclose(flow[0], -layout.video_latent(video_out, (7, 4, 6)), atol=1e-5)
    # The clean sound that the carried flow implies is four times the one of the network's own flow.
    clean = x[1] + sound_sigma * layout.sound_latent(sound_out)
    assert torch.allclose(carried[1] - sigma * flow[1], 4 * clean, atol=2e-5)


@pytest.mark.parametrize("kind", ["full", "pruned"])
def test_all_layouts_of_queries_keys_and_values_are_one_model(tmp_path, kind):
    expected = loaded(kind, tmp_path)
    for how in ({"separate": True}, {"interleaved": tiny.HEAD}):
        file = open_file(tiny.save(tmp_path / "other.safetensors", tiny.originals(kind, **how)))
        rows = "interleaved" if "interleaved" in how else "auto"
        other = load_model(file, torch.float32, rope_layout=rows)
        for (name, weight), (_, same) in zip(
            expected.transformer.named_parameters(), other.transformer.named_parameters(), strict=True
        ):
            assert torch.equal(weight, same), (how, name)


def test_rows_and_latents_are_inverses():
    video, sound = streams()
    assert torch.equal(layout.video_latent(layout.video_rows(video), video.shape[2:]), video)
    assert torch.equal(layout.sound_latent(layout.sound_rows(sound)), sound)


def test_what_is_shown_changes_both_streams_and_never_itself(tmp_path):
    model, x = loaded("pruned", tmp_path), streams()
    plain = called(model, x, 0.5)
    for shown in ("minimax_keyframes", "minimax_refs"):
        flow = called(model, x, 0.5, **{shown: tiny.shown()[shown]})
        assert [stream.shape for stream in flow] == [stream.shape for stream in x]
        assert all((one - other).abs().max() > 1e-3 for one, other in zip(flow, plain, strict=True))


def test_what_is_shown_has_its_share_of_noise_by_the_seed():
    model, x = tiny.variant_of("full")[1], list(SHAPES)
    conditions = model.family.network.condition
    first = conditions(model, entry(**tiny.shown()), x)["shown_video"]
    other = conditions(model, entry(**tiny.shown()) | {"seed": 6}, x)["shown_video"]
    clean = conditions(model, entry(**tiny.shown(), minimax_visual_cond_noise_aug=1.0), x)["shown_video"]
    assert not torch.equal(first, other)
    assert ((first - SHOWN_SHARES[0] * clean) / (1 - SHOWN_SHARES[0])).std() == pytest.approx(1, abs=0.05)


def test_tags_of_the_text_and_a_keyframe_of_another_size():
    variant, shapes = tiny.variant_of("full")[1], list(SHAPES)
    condition = variant.family.network.condition
    tags = condition(variant, entry(minimax_token_tags=torch.tensor([1, 1, 0, 0, 1, 1, 1, 1, 1])), shapes)["tags"]
    assert tags[0, :9].tolist() == [1, 1, 0, 0, 1, 1, 1, 1, 1] and set(tags[0, 9:].tolist()) == {0, 2}
    with pytest.raises(FamilyError, match="9 tokens and minimax_token_tags for 4"):
        condition(variant, entry(minimax_token_tags=torch.ones(4)), shapes)
    with pytest.raises(FamilyError, match="latent is 8 x 4, the video's 6 x 4"):
        keyframe = {"resolved_frame_index": 0, "latent": torch.zeros(1, 24, 1, 4, 8)}
        condition(variant, entry(minimax_keyframes=[keyframe]), shapes)
    with pytest.raises(FamilyError, match="kind 'smell'"):
        condition(variant, entry(minimax_refs=[{"kind": "smell"}]), shapes)


def pictures(start: int, end: int, frames: int = 22, strength: float = 1.0, middle: tuple[int, ...] = ()) -> Any:
    """What a run gets for clips of so many frames, 0 for none, and for pictures at other frames."""
    clips = [torch.rand(1, 3, count, 64, 96) if count else None for count in (start, end)]
    variant = tiny.variant_of("full")[1]

    def encode(video: torch.Tensor) -> torch.Tensor:
        return torch.full((1, *variant.geometry.latent_shape(96, 64, video.shape[2])), float(video.shape[2]))

    return variant.family.images.prepare(
        variant,
        Pictures(*clips, frames, strength, None, encode, tuple((n, torch.rand(1, 3, 1, 64, 96)) for n in middle)),
    )


def test_pictures_become_keyframes_at_both_ends():
    guided = pictures(1, 5, strength=0.5)
    first, last = guided.entries["minimax_keyframes"]
    assert (first["resolved_frame_index"], first["latent"].shape) == (0, (1, 24, 1, 4, 6))
    assert (last["resolved_frame_index"], last["latent"].shape) == (17, (1, 24, 2, 4, 6))
    assert guided.samples.shape == (1, 24, 7, 4, 6) and guided.mask is None
    assert guided.entries["minimax_visual_cond_noise_aug"] == pytest.approx(0.4995)
    assert "minimax_visual_cond_noise_aug" not in pictures(1, 0).entries
    assert pictures(0, 1).entries["minimax_keyframes"][0]["resolved_frame_index"] == 21
    at = [frame["resolved_frame_index"] for frame in pictures(1, 5, middle=(9, 4)).entries["minimax_keyframes"]]
    assert at == [0, 9, 4, 17]
    (alone,) = pictures(0, 0, middle=(9,)).entries["minimax_keyframes"]
    assert (alone["resolved_frame_index"], alone["latent"].shape) == (9, (1, 24, 1, 4, 6))
    with pytest.raises(FamilyError, match="No picture is given"):
        pictures(0, 0)
    with pytest.raises(FamilyError, match="pictures have 23 frames and the video 22: nothing is left to make"):
        pictures(22, 1)


def test_the_sampler_says_that_a_negative_prompt_is_unused():
    variant = tiny.variant_of("full")[1]
    plans = [plan_run(variant, SamplerRequest(cfg=cfg), SHAPES[0]) for cfg in (0.0, 3.0)]
    assert "The negative prompt is unused: MiniMax H3 was made to need none." in describe(plans[0])
    assert "MiniMax H3 was made for cfg 1: set cfg to 0 or 1." in describe(plans[1])


def test_windows_over_time_are_refused_by_name(tmp_path):
    """ComfyUI 0.33 has none for this model: no rule says how its sound and references go with a window."""
    model = embedded.model(loaded("pruned", tmp_path))
    (windows, _), _ = call("OpenT2VWindows", length=22, overlap=5)
    conditioning = [[entry()["cross_attn"], {}]]
    latent = {"samples": embedded.nested([torch.zeros(1, 24, 12, 4, 6), torch.zeros(1, 32, 2, 65)])}
    with pytest.raises(
        FamilyError, match=r"MiniMax H3 pruned makes picture and sound together.* Take Video Windows out"
    ):
        call(
            "OpenT2VSampler", model=model, positive=conditioning, negative=conditioning, latent=latent, seed=1, steps=2,
            windows=windows,
        )  # fmt: skip


def test_clips_of_one_run_are_those_of_their_seeds_and_prompts(tmp_path):
    """What is shown gets noise of one seed, so a run that shows something takes one seed."""
    model = embedded.model(loaded("pruned", tmp_path))
    generator = torch.Generator().manual_seed(6)
    contexts = [torch.randn(1, 9, tiny.TEXT, generator=generator) for _ in range(2)]
    latent = {"samples": embedded.nested([torch.zeros(shape) for shape in SHAPES])}

    def sampled(context: torch.Tensor, entries: dict[str, Any], **seeds: Any) -> list[torch.Tensor]:
        prompt = [[context, entries]]
        inputs = {"model": model, "positive": prompt, "negative": prompt, "latent": latent, "steps": 2, **seeds}
        return call("OpenT2VSampler", **inputs)[0][0]["samples"].unbind()

    whole = sampled(torch.cat(contexts), {}, seeds="3 8")
    for number, (context, seed) in enumerate(zip(contexts, (3, 8), strict=True)):
        for stream, alone in zip(whole, sampled(context, {}, seed=seed), strict=True):
            assert (stream[number] - alone[0]).abs().max() <= 1e-5 * alone.std()
    with pytest.raises(SamplingError, match=r"adds noise of one seed to what it is shown \(minimax_refs, minimax_key"):
        sampled(contexts[0], tiny.shown(), seeds="3 8")
    assert len(sampled(contexts[0], tiny.shown(), seeds="3 3")[0]) == 2
