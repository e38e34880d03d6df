"""Open-Sora 2.0 against tensors recorded from the original's own code.

tests/families/recorded/open_sora_*.safetensors were recorded on 2026-11-21 from hpcaitech/Open-Sora @7ad6a96
(Apache-2.0), torch 2.13 on a CPU in float32. The original's MMDiTModel was built tiny (hidden 32, 2 heads, 2 + 2
blocks, axes 4, 6, 6, text 16, pooled 8, cond_embed) with its imports of flash-attn, liger and colossalai replaced by
plain torch of the same meaning, and filled with normal weights (seed 5), rounded to fp16 so that the file is small.

- weights: its state dict, split layout.
- denoiser: x, context, pooled, condition [mask, latents], t, and its output for each (fused or split) x (half-split or
  interleaved) x (with condition or with zeros).
- loops: what its own `prepare_api` returns with a decoder that does nothing, 14 steps, guidance 7.5, guidance_img 3,
  seed 7, sizes 64 x 48 and 32 x 32, for each condition type, with the three oscillations on as published ("latents")
  and all off ("constant"); and the references it was given, in the transformer's scale.
"""

from __future__ import annotations

import sys

import pytest
import torch

from opent2v.base import FamilyError, Pictures
from opent2v.base.keys import translate
from opent2v.families import open_sora
from opent2v.host import embedded
from opent2v.loaders import load_model, open_file, open_folder
from opent2v.sampling import Guidance, SamplingError
from opent2v.sampling.caches import BatchItem, cache_runs
from opent2v.tests.loaders.text_files import save
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan
from opent2v.tests.tiny import open_sora as tiny_open_sora
from opent2v.tests.tiny import wan as tiny
from opent2v.tests.tiny.open_sora import recorded


def weights(is_fused=False):
    given = {name: tensor.float() for name, tensor in recorded("weights").items()}
    if not is_fused:
        return given
    fused = {}
    for name, tensor in given.items():
        if "attn.q_proj" in name:
            parts = [given[name.replace("q_proj", f"{n}_proj")] for n in "qkv"]
            fused[name.replace("q_proj", "qkv")] = torch.cat(parts)
        elif "q_proj" in name:
            parts = [given[name.replace("q_proj", n)] for n in ("q_proj", "k_proj", "v_mlp")]
            fused[name.replace("q_proj", "linear1")] = torch.cat(parts)
        elif not any(part in name for part in ("k_proj", "v_proj", "v_mlp")):
            fused[name] = tensor
    return fused


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """is_fused -> the recorded weights as a file."""
    folder = tmp_path_factory.mktemp("open_sora")
    made = {}

    def of(is_fused):
        if is_fused not in made:
            made[is_fused] = open_file(save(folder / f"{is_fused}.safetensors", weights(is_fused)))
        return made[is_fused]

    return of


@pytest.fixture(scope="module")
def model(file):
    return embedded.model(load_model(file(False), torch.float32))


# --- the denoiser ---


def denoised(part, known):
    given = recorded("denoiser")
    beside = given["condition"] * known
    conditions = {"context": given["context"], "pooled": given["pooled"], "known": beside}
    with torch.no_grad():
        return part.predict(given["x"], given["t"] * 1000, conditions)


@pytest.mark.parametrize("is_fused", [False, True])
@pytest.mark.parametrize("rope", ["half-split", "interleaved"])
@pytest.mark.parametrize("known", [0, 1])
def test_the_denoiser_is_the_originals(file, is_fused, rope, known):
    part = load_model(file(is_fused), torch.float32, rope_layout=rope)
    layout = "fused" if is_fused else "split"
    name = f"{'condition' if known else 'text'}"
    expected = recorded("denoiser")[f"denoised.{layout}.{rope}.{name}"]
    assert expected.std() > 0.5
    # Processors differ by up to 1.2e-5.
    assert (denoised(part, known) - expected).abs().max() <= 5e-5


def test_auto_is_the_published_layout_of_each(file):
    for is_fused, likely in ((False, "half-split"), (True, "interleaved")):
        auto = denoised(load_model(file(is_fused), torch.float32), 1)
        assert torch.equal(auto, denoised(load_model(file(is_fused), torch.float32, rope_layout=likely), 1))
        assert likely in file(is_fused).parts["transformer"].remark


def test_the_equality_would_notice_the_other_rope_layout_and_a_lost_condition(file):
    given = recorded("denoiser")
    right = given["denoised.split.half-split.condition"]
    wrong = denoised(load_model(file(False), torch.float32, rope_layout="interleaved"), 1)
    assert (wrong - right).abs().max() > 0.1
    assert (denoised(load_model(file(False), torch.float32), 0) - right).abs().max() > 0.1


# --- the whole loop ---

PICTURES = {"t2v": (9, 48, 64), "i2v_head": (9, 48, 64), "i2v_tail": (9, 48, 64), "i2v_loop": (9, 48, 64)}
VIDEOS = {
    "v2v_head": (41, 32, 32), "v2v_tail": (41, 32, 32), "v2v_head_easy": (73, 32, 32), "v2v_tail_easy": (73, 32, 32),
}  # fmt: skip


def loop(model, kind, **given):
    """The latents of our sampler node's run, in the transformer's scale, and the node's remarks."""
    variant, tensors = model.part.variant, recorded("loops")
    frames, height, width = (PICTURES | VIDEOS)[kind]
    prompts = [[[tensors[f"{n}.context"], {"pooled_output": tensors[f"{n}.pooled"]}]] for n in ("positive", "negative")]
    names = [f"{kind}.reference.{n}" for n in range(2) if f"{kind}.reference.{n}" in tensors]
    if names:
        latents = iter([variant.denormalise(tensors[name][None]) for name in names])
        count = variant.geometry.frames(tensors[names[0]].shape[1])
        pixels = torch.zeros(1, 3, count, height, width)
        start = None if "tail" in kind else pixels
        end = None if "head" in kind else pixels
        guided = open_sora.image_to_video(variant, Pictures(start, end, frames, 1.0, None, lambda _: next(latents)))
        assert guided.mask is None and guided.samples.eq(0).all()
        prompts = [[[c, {**further, **guided.entries}] for c, further in prompt] for prompt in prompts]
    latent = {"samples": torch.zeros(1, *variant.geometry.latent_shape(width, height, frames))}
    settings = {name: given.pop(name) for name in ("cfg_schedule", "picture_cfg") if name in given}
    guidance = Guidance(**{"cfg_schedule": "auto", **settings})
    given = {"seed": 7, "steps": 14, "guidance": guidance} | given
    given |= {"positive": prompts[0], "negative": prompts[1], "latent": latent}
    (made, _), ui = call("OpenT2VSampler", model=model, **given)
    return variant.normalise(made["samples"]), remarks(ui)


@pytest.mark.parametrize("kind", [*PICTURES, *VIDEOS])
def test_a_run_is_the_originals_run(model, kind):
    """Shift, both guidances, their oscillation, what is known of the video, and the pictures put back at the end."""
    expected = recorded("loops")[f"{kind}.latents"]
    made, said = loop(model, kind)
    assert expected.std() > 1 and (made - expected).abs().max() <= 2e-4
    told = "" if kind == "t2v" else ", picture_cfg 3"
    assert said == f"14 steps, cfg 7.5 oscillating{told}, FlowMatchEulerDiscrete, seed 7"


def test_a_run_without_oscillation_is_the_originals_too(model):
    made, said = loop(model, "i2v_head", cfg_schedule="constant")
    assert (made - recorded("loops")["i2v_head.constant"]).abs().max() <= 2e-4
    assert said == (
        "14 steps, cfg 7.5, picture_cfg 3, FlowMatchEulerDiscrete, seed 7\n"
        "The makers of this model use cfg_schedule oscillating (auto in Video Guidance)."
    )


@pytest.mark.parametrize(
    "given", [{"cfg": 7.0}, {"picture_cfg": 1.0}, {"shift": 1.0}, {"cfg_schedule": "constant"}], ids=str
)
def test_the_equality_would_notice(model, given):
    made, _ = loop(model, "i2v_head", **given)
    assert (made - recorded("loops")["i2v_head.latents"]).abs().max() > 1e-2


def test_the_pictures_stand_at_the_ends_in_the_end(model):
    tensors = recorded("loops")
    made, _ = loop(model, "i2v_loop")
    assert torch.allclose(made[0, :, 0], tensors["i2v_loop.reference.0"][:, 0], atol=1e-5)
    assert torch.allclose(made[0, :, -1], tensors["i2v_loop.reference.1"][:, 0], atol=1e-5)
    # A video that is gone on with is not put back.
    made, _ = loop(model, "v2v_head")
    assert (made[0, :, :9] - tensors["v2v_head.reference.0"]).abs().max() > 0.1


def test_how_often_the_transformer_is_called(model, monkeypatch):
    """Three rows a step with a picture, two with words alone, and one in every second step after the tenth."""
    rows = []
    handle = model.part.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["hidden_states"])), with_kwargs=True
    )
    try:
        loop(model, "i2v_head")
        assert rows == [3] * 11 + [1, 3, 1]
        rows.clear()
        loop(model, "t2v")
        assert rows == [2] * 11 + [1, 2, 1]
        rows.clear()
        monkeypatch.setattr(sys.modules["opent2v.host.embedded.sample"], "free_memory", lambda _: 0)
        small, _ = loop(model, "i2v_head", steps=2)
        assert rows == [1] * 6
        monkeypatch.undo()
        whole, _ = loop(model, "i2v_head", steps=2)
        assert (small - whole).abs().max() <= 1e-5
    finally:
        handle.remove()


def test_the_guidance_by_pictures_rises_over_the_frames_and_falls_over_the_steps():
    variant = tiny_open_sora.hosted()[0].part.variant
    mask = torch.ones(1, 1, 5, 4, 4)
    mask[:, :, 0] = 0
    picture = {"concat_latent_image": torch.zeros(1, 16, 5, 4, 4), "concat_mask": mask}
    levels = open_sora.picture_guidance(variant, "oscillating", 3.0, picture, 14, 5)
    assert levels.shape == (14, 5) and levels[0].tolist() == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert levels[11].tolist() == levels[13].tolist() == [1.0] * 5
    # Falling: the last frame's level by step, of those that are guided.
    last = levels[:11, -1]
    assert torch.allclose(last, torch.linspace(3, 1, 15)[:11]) and levels[12, -1] < levels[10, -1]
    mask[:, :, :3] = 0  # a video
    assert open_sora.picture_guidance(variant, "oscillating", 3.0, picture, 14, 5)[:11].eq(3).all()
    assert open_sora.picture_guidance(variant, "constant", 3.0, picture, 14, 5).eq(3).all()
    assert open_sora.picture_guidance(variant, "oscillating", 3.0, {}, 14, 5) is None


# --- schedule, sizes, prompts: numbers that the original's functions gave ---


@pytest.mark.parametrize(
    ("steps", "latent", "expected"),
    [
        (5, (3, 6, 8), [1.0, 0.858111, 0.693994, 0.501981, 0.274302]),
        (50, (33, 24, 42), [1.0, 0.996453, 0.992784, 0.988988, 0.985058, 0.980986]),
        (50, (33, 72, 128), [1.0, 0.998284, 0.996503, 0.994652, 0.992729, 0.990728]),
        (10, (1, 128, 128), [1.0, 0.964286, 0.923077, 0.875, 0.818182, 0.75]),
    ],
)
def test_the_shift_follows_from_tokens_and_frames(steps, latent, expected):
    """get_schedule of the original, rounded to six places."""
    variant = tiny_open_sora.hosted()[0].part.variant
    made = open_sora.sigmas(variant, steps, None, (1, 16, *latent))
    assert len(made) == steps and made[: len(expected)] == pytest.approx(expected, abs=1e-6)
    assert open_sora.sigmas(variant, steps, 1.0, (1, 16, *latent))[1] == pytest.approx(1 - 1 / steps)


# get_aspect_ratios_dict(..., training=False) of the original: width, height.
SIZES = {
    256: {"16:9": (336, 192), "9:16": (192, 336), "1:1": (256, 256), "4:3": (288, 224), "3:4": (224, 288),
          "3:2": (304, 208), "2:1": (352, 176), "2.39:1": (384, 160)},
    768: {"16:9": (1024, 576), "1:1": (768, 768), "4:3": (880, 656), "3:2": (928, 624), "2:1": (1072, 544),
          "2.39:1": (1184, 496)},
}  # fmt: skip


@pytest.mark.parametrize(("area", "ratio", "size"), [(a, r, s) for a, row in SIZES.items() for r, s in row.items()])
def test_sizes_by_area_and_ratio(model, area, ratio, size):
    results, ui = call("OpenT2VEmptyLatent", model=model, aspect_ratio=ratio, area=area, frames=5)
    assert results[1:3] == size and results[0]["samples"].shape[-2:] == (size[1] // 8, size[0] // 8)
    assert "Changed" not in remarks(ui)


def test_the_models_own_size(model):
    results, _ = call("OpenT2VEmptyLatent", model=model)
    assert results[1:] == (336, 192, 129, 24.0) and results[0]["samples"].shape == (1, 16, 33, 24, 42)
    assert call("OpenT2VEmptyLatent", model=model, aspect_ratio="9:16")[0][1:3] == (192, 336)
    with pytest.raises(FamilyError, match="area is 256, and no aspect ratio is chosen"):
        call("OpenT2VEmptyLatent", model=model, area=256)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("raining, sea", "raining, sea. 24 FPS. 4 motion score."),
        (" A cat. ", "A cat. 24 FPS. 4 motion score."),
        ("A dog, 30 FPS.", "A dog, 30 FPS. 4 motion score."),
        ("", ". 24 FPS. 4 motion score."),
    ],
)
def test_the_prompt_ends_as_in_training(typed, read):
    """add_fps_info_to_text and add_motion_score_to_text of the original."""
    assert open_sora.complete(typed, 24, 0) == read
    assert open_sora.complete("a", 16.0, 6.5) == "a. 16 FPS. 6.5 motion score."


# --- prompts ---


def test_the_prompt_node_tells_fps_and_motion_and_the_negative_stays():
    clip = tiny_open_sora.hosted()[1]
    (positive, negative), ui = call(
        "OpenT2VEncodePrompt", clip=clip, positive="a red star", negative="blurry", fps=16.0, motion_score=7.0
    )
    assert "Appended to the prompt: 16 FPS. 7 motion score." in remarks(ui)
    told = embedded.embed(clip, "a red star. 16 FPS. 7 motion score.")
    assert torch.equal(positive[0][0], told[0][0]) and torch.equal(negative[0][0], embedded.embed(clip, "blurry")[0][0])
    assert positive[0][1]["pooled_output"].shape == (1, 8)
    usual = call("OpenT2VEncodePrompt", clip=clip, positive="a red star", negative="")[0][0]
    assert torch.equal(usual[0][0], embedded.embed(clip, "a red star. 24 FPS. 4 motion score.")[0][0])


def test_models_that_are_not_told_refuse_the_two():
    with pytest.raises(FamilyError) as error:
        call("OpenT2VEncodePrompt", clip=tiny.shared()[1], motion_score=4.0)
    assert str(error.value) == "Wan tiny is not told fps or a motion score in its prompt. Set both to 0."


def test_t5_reads_its_padding_and_clip_is_pooled():
    part = tiny_open_sora.hosted()[1].part
    ids, _ = part.tokens("a red star")
    context, further = part.embed(ids)
    row = torch.tensor([ids["text_encoder"] + [part.tokenizers["text_encoder"].pad_token_id] * 24])[:, :24]
    expected = part.encoders["text_encoder"](row).last_hidden_state
    assert context.shape == (1, 24, 16) and torch.allclose(context, expected, atol=1e-6)
    masked = part.encoders["text_encoder"](row, attention_mask=(row > 0).long()).last_hidden_state
    assert (masked - context).abs().max() > 1e-3
    assert list(further) == ["pooled_output"]


# --- folders ---


def test_a_folder_from_words_to_frames():
    model, clip, vae = tiny_open_sora.hosted()
    (positive, negative), _ = call("OpenT2VEncodePrompt", clip=clip, positive="a red star", negative="")
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=model)
    given = {"positive": positive, "negative": negative, "latent": latent, "seed": 3}
    (made, _), ui = call("OpenT2VSampler", model=model, guidance=Guidance(cfg_schedule="auto"), **given)
    assert remarks(ui) == "4 steps, cfg 7.5 oscillating, FlowMatchEulerDiscrete, seed 3"
    (frames, *_), _ = call("OpenT2VDecode", vae=vae, latent=made)
    assert frames.shape == (9, 32, 48, 3) and frames.std() > 0.01


def configs(transformer=None, vae=None, text=None):
    return {
        "folder": {"name": "open-sora"},
        "transformer": open_sora.files.transformer_config(**(transformer or {})),
        "vae": {"latent_channels": 16, "scaling_factor": 0.476986} | (vae or {}),
        "text_encoder": {"d_model": 4096} | (text or {}),
        "scheduler": dict(open_sora.SCHEDULER),
    }


def test_a_published_folder():
    variant = open_sora.read(configs())
    own = variant.defaults
    assert variant.title == "Open-Sora 2.0" and variant.task == "text" and not variant.embeds_guidance
    assert (own.width, own.height, own.frames, own.fps, own.steps, own.guidance) == (336, 192, 129, 24, 50, 7.5)
    assert own.picture_guidance == 3.0 and [p.max_tokens for p in variant.prompts] == [512, 77]
    assert variant.scheduler["shift"] == pytest.approx(5.7326, abs=1e-3)  # at its own size, for samplers of others
    assert variant.normalise(torch.ones(1, 16, 1, 1, 1))[0, 0].item() == pytest.approx(0.476986)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"vae": {"latent_channels": 4}},
            "The VAE makes 4 latent channels, 16 a token, and the transformer returns 64",
        ),
        ({"text": {"d_model": 768}}, "The text encoder is 768 wide and the transformer expects 4096"),
        ({"transformer": {"in_channels": 64}}, "takes 64 channels a token and returns 64; expected 132"),
        (
            {"transformer": {"in_channels": 257, "out_channels": 128}},
            "open-sora: is the high-compression Open-Sora 2.0",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(given, said):
    with pytest.raises(FamilyError, match=said):
        open_sora.read(configs(**given))


def test_a_folder_is_opened():
    opened = open_folder(tiny_open_sora.folder())
    assert opened.family.id == "open_sora" and opened.variant.title == "Open-Sora 2.0 tiny"


# --- pictures and videos in the node ---


def picture_node(**given):
    model, clip, vae = tiny_open_sora.hosted()
    prompt = embedded.embed(clip, "a star")
    return call("OpenT2VImageToVideo", **{"model": model, "vae": vae, "positive": prompt, "negative": prompt} | given)


@pytest.mark.parametrize(
    ("images", "frames", "known", "said"),
    [
        ({"start_image": 1}, 9, [0], ""),
        ({"end_image": 1}, 9, [2], ""),
        ({"start_image": 1, "end_image": 1}, 9, [0, 2], ""),
        ({"start_image": 40}, 45, list(range(9)), "start_image is a video: its first 33 of 40 frames are used."),
        ({"end_image": 65}, 69, list(range(1, 18)), "end_image is a video: its last 65 of 65 frames are used."),
        ({"start_image": 5}, 9, [0], "start_image has 5 frames, fewer than the 33 of a video: the first is used."),
    ],
)
def test_pictures_and_videos_at_either_end(images, frames, known, said):
    given = {name: torch.rand(count, 32, 48, 3) for name, count in images.items()}
    (positive, negative, latent, *sizes), ui = picture_node(frames=frames, **given)
    assert sizes[:3] == [48, 32, frames] and said in remarks(ui) and latent["samples"].eq(0).all()
    for prompt in (positive, negative):
        entry = prompt[0][1]
        where = (entry["concat_mask"][0, 0] == 0).flatten(1).all(1).nonzero().flatten().tolist()
        assert where == known
        filled = entry["concat_latent_image"][0].abs().amax((0, 2, 3)).nonzero().flatten().tolist()
        assert filled == known


def test_which_frames_of_a_video_are_read():
    """The first of what comes before, the last of what comes after; encoded as one video."""
    vae = tiny_open_sora.hosted()[2]
    video = torch.rand(36, 32, 48, 3)
    for name, used in (("start_image", video[:33]), ("end_image", video[-33:])):
        (positive, *_), _ = picture_node(frames=37, **{name: video})
        latent = embedded.encode(vae, used)
        found = positive[0][1]["concat_latent_image"]
        kept = found[:, :, :9] if name == "start_image" else found[:, :, -9:]
        assert torch.allclose(kept, latent, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "has no picture to start from. Connect start_image, end_image or both."),
        ({"start_image": 1, "strength": 0.5}, "strength is 0.5; Open-Sora 2.0 tiny reads its pictures as they are"),
        ({"start_image": 33, "frames": 33}, "The video given has 33 frames, and 33 are to be made. Ask for more"),
        ({"start_image": 33, "end_image": 1, "frames": 37}, "start_image is 33 frames and end_image 1; Open-Sora 2.0"),
    ],
)
def test_pictures_it_cannot_use_are_named(given, said):
    images = {n: torch.rand(c, 32, 48, 3) if n.endswith("image") else c for n, c in given.items()}
    with pytest.raises(FamilyError, match=said):
        picture_node(**images)


def test_a_picture_of_another_size_and_a_missing_pooled_output_are_named():
    variant = tiny_open_sora.hosted()[0].part.variant
    entry = {"cross_attn": torch.zeros(1, 2, 16), "pooled_output": torch.zeros(1, 8)}
    wrong = entry | {"concat_latent_image": torch.zeros(1, 16, 3, 6, 8)}
    with pytest.raises(FamilyError, match=r"picture's latent is 8 x 6 and the video's 4 x 4\. Connect the latent"):
        open_sora.condition(variant, wrong, (1, 16, 3, 4, 4))
    with pytest.raises(FamilyError, match=r"no pooled_output: Open-Sora 2\.0 reads a second text encoder"):
        open_sora.condition(variant, {"cross_attn": entry["cross_attn"]}, (1, 16, 3, 4, 4))
    # Entries as other nodes make them: fewer latent frames than the video, and no mask.
    known = open_sora.condition(variant, entry | {"concat_latent_image": torch.ones(1, 16, 1, 4, 4)}, (1, 16, 3, 4, 4))
    assert known["known"][0, 0].flatten(1).any(1).tolist() == [True, False, False]


# --- with other families ---


def test_the_vae_is_hunyuan_videos():
    latent = {"samples": torch.zeros(1, 16, 3, 4, 6), "opent2v": {"family": "open_sora", "model": "Open-Sora 2.0"}}
    (frames, *_), _ = call("OpenT2VDecode", vae=tiny_hunyuan.hosted()[2], latent=latent)
    assert frames.shape == (9, 32, 48, 3)
    with pytest.raises(FamilyError, match=r"The latent was made by Open-Sora 2\.0\. This VAE is of Wan"):
        call("OpenT2VDecode", vae=tiny.shared()[2], latent=latent)


def test_what_other_families_do_not_have_is_refused():
    model, clip, _ = tiny_hunyuan.hosted()
    prompt = embedded.embed(clip, "a star")
    given = {"positive": prompt, "negative": prompt, "latent": call("OpenT2VEmptyLatent", model=model)[0][0], "seed": 1}
    with pytest.raises(SamplingError, match=r"tiny has no guidance by pictures\. Set picture_cfg to 0\."):
        call("OpenT2VSampler", model=model, guidance=Guidance(picture_cfg=3.0), **given)
    with pytest.raises(SamplingError, match="was made for one cfg in all steps"):
        call("OpenT2VSampler", model=model, guidance=Guidance(cfg_schedule="oscillating"), **given)
    ours, clip, _ = tiny_open_sora.hosted()
    prompt = embedded.embed(clip, "a star")
    latent = call("OpenT2VEmptyLatent", model=ours)[0][0]
    with pytest.raises(SamplingError) as error:
        call(
            "OpenT2VSampler", model=ours, positive=prompt, negative=prompt, latent=latent, seed=1,
            guidance=Guidance(cfg_schedule="dynamic"),
        )  # fmt: skip
    assert str(error.value) == (
        "Open-Sora 2.0 tiny knows no cfg_schedule 'dynamic'. Choose one of: oscillating, constant."
    )


# --- step cache ---


@pytest.mark.parametrize("policy", ["easycache", "first block"])
def test_a_step_cache_stands_in_for_both_kinds_of_blocks(model, policy):
    settings, _ = call("OpenT2VStepCache", policy=policy, threshold=10.0, start=0.0, end=1.0, few_steps=True)
    full, _ = loop(model, "t2v", steps=8)
    cached, said = loop(model, "t2v", steps=8, step_cache=settings[0])
    assert "of 8 steps computed" in said and "8 of 8" not in said
    assert torch.isfinite(cached).all() and (cached - full).abs().max() > 1e-4


def test_what_stands_in_for_the_blocks_is_what_they_gave(model):
    """The same input again: the blocks are skipped, and the output is the same."""
    (settings,), _ = call("OpenT2VStepCache", policy="first block", threshold=10.0, start=0.0, end=1.0, few_steps=True)
    part, given = model.part, recorded("denoiser")
    conditions = {"context": given["context"][:1], "pooled": given["pooled"][:1], "known": given["condition"][:1]}
    run = cache_runs(settings, part.variant)()
    sigmas, made = torch.linspace(1, 0, 9), []
    with torch.no_grad(), run.attached(part.transformer, sigmas) as stage:
        for sigma in sigmas[:4]:
            with stage.call([BatchItem(0, "positive")], sigma.item(), given["x"][:1]):
                made.append(part.predict(given["x"][:1], given["t"][:1] * 1000, conditions))
        assert [one.computed for one in stage.calls] == [True, False, False, False]
        assert len(stage.gate.blocks) == 4  # two of each kind
    assert max((one - made[0]).abs().max().item() for one in made) <= 1e-5


def test_every_rule_of_the_file_is_used(file):
    """No tensor is left out, and the two of the input become one."""
    found = file(False).parts["transformer"]
    renamed = {name: translate(name, found.rules, found.prefix) for name in weights()}
    assert all(one.names for one in renamed.values())
    assert [one.place for name, one in renamed.items() if name in ("img_in.weight", "cond_in.weight")] == [1, 0]
