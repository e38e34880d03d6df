"""Folders of every version are recognised; schedule, prompts, latents and frames are the reference pipelines'."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from opent2v.base import FamilyError, Pictures
from opent2v.base.noise_levels import linear_quadratic
from opent2v.families import ltx_video
from opent2v.families.ltx_video.versions import DYNAMIC, FIRST_PASS, STATIC
from opent2v.host import embedded
from opent2v.sampling import make_run
from opent2v.sampling.guidance import guides
from opent2v.tests.families.ltx_video_runs import (
    NEGATIVE,
    PROMPT,
    SIZE,
    TRANSFORMER_13B,
    VAE,
    VAE_091,
    VAE_095,
    configs,
    empty,
    prompts,
    schedule_of,
)
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import ltx_video as tiny

# --- which model a folder holds ---


@pytest.mark.parametrize(
    ("transformer", "vae", "folder", "name", "size", "fps", "steps", "cfg", "causal"),
    [
        ({}, VAE, "LTX-Video", "2B 0.9.0", (704, 512, 161), 25, 40, 3, False),
        ({}, VAE_091, "LTX-Video-0.9.1-diffusers", "2B 0.9.1", (704, 512, 161), 25, 40, 3, False),
        ({}, VAE_095, "LTX-Video-0.9.5", "2B 0.9.5", (704, 512, 161), 25, 40, 3, True),
        ({}, VAE_095, "3c1b7f", "2B 0.9.5", (704, 512, 161), 25, 40, 3, True),
        ({}, VAE_095, "LTXV-2B-0.9.8-distilled", "2B 0.9.8 distilled", (1216, 704, 121), 30, 7, 1, True),
        ({}, VAE_095, "LTXV-2B-0.9.6-Distilled", "2B 0.9.6 distilled", (1216, 704, 121), 30, 8, 1, True),
        (TRANSFORMER_13B, VAE_095, "LTX-Video-0.9.7-dev", "13B 0.9.7", (1216, 704, 121), 30, 30, 3, True),
        (TRANSFORMER_13B, VAE_095, "LTX-Video-0.9.8-13B-distilled", "13B 0.9.8 distilled", (1216, 704, 121), 30, 7, 1,
         True),
    ],
)  # fmt: skip
def test_published_folders(transformer, vae, folder, name, size, fps, steps, cfg, causal):
    variant = ltx_video.read(configs(transformer, vae, folder={"name": folder}))
    own = variant.defaults
    assert variant.title == f"LTX-Video {name}"
    assert (own.width, own.height, own.frames, own.fps) == (*size, fps)
    assert (own.steps, own.guidance, variant.facts["is_causal"]) == (steps, cfg, causal)
    assert own.negative == "worst quality, inconsistent motion, blurry, jittery, distorted"
    assert (variant.prompts[0].max_tokens, variant.keeps_clean, variant.latent_format) == (256, True, "LTXV")
    assert variant.geometry.legal(*size) == size
    assert variant.geometry.latent_shape(*size) == (128, (size[2] - 1) // 8 + 1, size[1] // 32, size[0] // 32)
    # comfy/supported_models.py, LTXV: 5.5 for the 2B, twice that for the 13B
    assert variant.memory_factor == (11 if transformer else 5.5)


def test_memory_is_what_comfyui_estimates_and_grows_with_the_length():
    variant = ltx_video.read(configs())
    video = 512 * 704 * 161 * 3 * 4
    assert variant.decode_memory((1, 128, 21, 16, 22), 2) - video == 900 * 21 * 16 * 22 * 8 * 8 * 8 * 2
    assert variant.encode_memory((1, 3, 161, 512, 704), 2) == (70 + 3) * 161 * 512 * 704 * 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            configs(vae=VAE | {"latent_channels": 16}),
            "The VAE makes 16 latent channels and the transformer takes 128. They belong to different models: use the "
            "vae folder that came with this transformer.",
        ),
        (
            configs(text=2048),
            "The text encoder is 2048 wide and the transformer expects 4096. Use the text_encoder folder that came "
            "with this transformer.",
        ),
        (
            configs({"patch_size": 2}),
            "The transformer's patches are 1 x 2 x 2 latents; every LTX-Video model has 1 x 1 x 1.",
        ),
    ],
)
def test_parts_that_do_not_fit(changed, said):
    with pytest.raises(FamilyError) as error:
        ltx_video.read(changed)
    assert str(error.value).startswith(said)


# --- schedule ---


@pytest.mark.parametrize("steps", [2, 7, 40])
@pytest.mark.parametrize("shape", [(1, 128, 3, 2, 3), (1, 128, 21, 16, 22), (1, 128, 16, 22, 38)])
def test_the_dynamic_schedule_is_the_pipelines(steps, shape):
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift

    scheduler = FlowMatchEulerDiscreteScheduler(**{k: v for k, v in DYNAMIC.items() if k != "_class_name"})
    mu = calculate_shift(math.prod(shape[2:]), 1024, 4096, 0.95, 2.05)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    made = ltx_video.sigmas(ltx_video.read(configs()), steps, None, shape)
    # diffusers computes in float32
    assert torch.tensor(made).sub(scheduler.sigmas[:-1]).abs().max() <= 3e-6
    assert made[-1] == pytest.approx(0.1)


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 40])
def test_the_linear_quadratic_schedule_is_the_pipelines(steps):
    from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule

    variant = ltx_video.read(configs(vae=VAE_095, scheduler=STATIC))
    made = ltx_video.sigmas(variant, steps, None, (1, 128, 3, 2, 3))
    assert torch.tensor(made).sub(linear_quadratic_schedule(steps)).abs().max() <= 1e-6


def test_a_static_schedule_and_a_users_shift():
    shape = (1, 128, 21, 16, 22)
    assert ltx_video.sigmas(ltx_video.read(configs()), 1, None, shape) == [1.0]  # where diffusers divides 0 by 0
    static = ltx_video.read(configs(scheduler=STATIC | {"shift": 3.0}))
    even = torch.linspace(1, 1 / 5, 5)
    assert torch.tensor(ltx_video.sigmas(static, 5, None, shape)).sub(3 * even / (1 + 2 * even)).abs().max() <= 1e-6
    # A shift replaces e^mu; the end stays where the config wants it.
    mine = ltx_video.sigmas(ltx_video.read(configs()), 5, 4.0, shape)
    bent = 4 * even / (1 + 3 * even)
    assert torch.tensor(mine).sub(1 - (1 - bent) * 0.9 / (1 - bent[-1])).abs().max() <= 1e-6
    newer = ltx_video.read(configs(vae=VAE_095, scheduler=STATIC))
    bent = [4 * s / (1 + 3 * s) for s in linear_quadratic(5)]
    assert ltx_video.sigmas(newer, 5, 4.0, shape) == pytest.approx(bent)


def test_distilled_checkpoints_walk_their_own_levels():
    shape = (1, 128, 16, 22, 38)
    large = ltx_video.read(configs(TRANSFORMER_13B, VAE_095, STATIC, folder={"name": "LTX-Video-0.9.8-13B-distilled"}))
    assert ltx_video.sigmas(large, 7, None, shape) == list(FIRST_PASS)
    assert ltx_video.sigmas(large, 8, None, shape) == [*FIRST_PASS, 0.4219]
    # the published lists are the linear-quadratic schedule of 8 steps, rounded
    assert linear_quadratic(8) == pytest.approx([*FIRST_PASS, 0.4219], abs=1e-4)
    small = ltx_video.read(configs(vae=VAE_095, scheduler=STATIC, folder={"name": "ltxv-2b-0.9.6-distilled"}))
    assert ltx_video.sigmas(small, 8, None, shape) == linear_quadratic(8)
    assert small.scheduler["stochastic_sampling"] is True and "stochastic_sampling" not in large.scheduler


@pytest.mark.parametrize(
    ("name", "steps", "shift", "said"),
    [
        ("13B-0.9.8-distilled", 20, None, "20 steps are asked for; LTX-Video 2B 0.9.8 distilled knows the noise levels "
         "of 7 or 8 steps. Set steps to 0, and with denoise below 1 to a part of them: 4 steps at denoise 0.5."),
        ("0.9.6-distilled", 7, None, "7 steps are asked for; LTX-Video 2B 0.9.6 distilled knows the noise levels of "),
        ("0.9.6-distilled", 8, 3.0, "LTX-Video 2B 0.9.6 distilled knows its own noise levels only; shift 3 would move "
         "them. Set shift to 0."),
    ],
)  # fmt: skip
def test_other_levels_for_a_distilled_checkpoint(name, steps, shift, said):
    variant = ltx_video.read(configs(vae=VAE_095, scheduler=STATIC, folder={"name": name}))
    with pytest.raises(FamilyError) as error:
        ltx_video.sigmas(variant, steps, shift, (1, 128, 16, 22, 38))
    assert str(error.value).startswith(said)


# --- prompts ---


def test_prompts_are_encoded_with_their_mask_as_the_original_does():
    _, clip, _ = tiny.shared("0.9.5")
    ((context, further),) = embedded.embed(clip, f"  {PROMPT} ")
    tokens = clip.part.tokenizers["text_encoder"](PROMPT, padding="max_length", max_length=256, return_tensors="pt")
    encoder = clip.part.encoders["text_encoder"]
    with torch.inference_mode():
        expected = encoder(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
        unmasked = encoder(tokens.input_ids)[0]
    assert context.shape == (1, 256, tiny.TEXT) and torch.equal(further["attention_mask"], tokens.attention_mask)
    assert (context - expected).abs().max() <= 1e-6
    length = int(tokens.attention_mask.sum())
    assert (context - unmasked)[:, :length].abs().max() > 1e-3  # diffusers' way gives other numbers


# --- against the reference pipelines ---


def reference(kind: str, pipeline: str = ""):
    import diffusers

    pytest.importorskip("accelerate", reason="diffusers loads its own pipeline only where accelerate is installed")
    name = pipeline or {"0.9.0": "LTXPipeline", "static": "LTXPipeline", "0.9.1": "LTXPipeline"}.get(
        kind, "LTXConditionPipeline"
    )
    made = getattr(diffusers, name).from_pretrained(tiny.folder(kind), torch_dtype=torch.float32)
    made.set_progress_bar_config(disable=True)
    return made


def given(conditionings) -> dict:
    """Our CONDITIONING as the arguments of a reference pipeline."""
    ((positive, further),), ((negative, others),) = conditionings
    return {
        "prompt_embeds": positive,
        "prompt_attention_mask": further["attention_mask"],
        "negative_prompt_embeds": negative,
        "negative_prompt_attention_mask": others["attention_mask"],
    }


def run(pipeline, arguments, steps, cfg, **further):
    width, height, frames = SIZE
    call = {"width": width, "height": height, "num_frames": frames, "num_inference_steps": steps}
    call |= {"guidance_scale": cfg, "generator": torch.Generator().manual_seed(7), "output_type": "latent"}
    latents = pipeline(**arguments, **(call | further)).frames
    if latents.ndim == 3:
        latents = latents.transpose(1, 2).unflatten(2, (3, 2, 3))
    return latents


@pytest.mark.parametrize("kind", ["0.9.0", "0.9.1", "static", "0.9.5", "0.9.7"])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_latents_are_the_pipelines(kind, cfg):
    model, clip, _ = tiny.shared(kind)
    conditionings, rate = prompts(clip), model.part.variant.defaults.fps
    assert rate == (30 if kind == "0.9.7" else 25)
    expected = run(reference(kind), given(conditionings), 5, cfg, frame_rate=rate)
    samples = embedded.sample(model, *conditionings, empty(model), make_run(schedule_of(model, 5), cfg, 7))
    assert (samples - expected).abs().max() <= 1e-4


def test_the_pipelines_own_prompts_through_given_conditioning():
    """diffusers encodes 128 tokens and leaves the mask out inside T5; both ways give its latents."""
    model, clip, _ = tiny.shared("0.9.0")
    pipeline = reference("0.9.0")
    expected = run(pipeline, {"prompt": PROMPT, "negative_prompt": NEGATIVE}, 4, 3.0)
    encoded = pipeline.encode_prompt(PROMPT, NEGATIVE)
    theirs = [[[encoded[n], {"attention_mask": encoded[n + 1].long()}]] for n in (0, 2)]
    assert theirs[0][0][0].shape[1] == 128
    got = embedded.sample(model, *theirs, empty(model), make_run(schedule_of(model, 4), 3.0, 7))
    assert (got - expected).abs().max() <= 1e-4
    own = embedded.sample(model, *prompts(clip), empty(model), make_run(schedule_of(model, 4), 3.0, 7))
    assert (own - expected).abs().max() > 1e-3


def test_a_longer_conditioning_and_one_without_a_mask():
    model, clip, _ = tiny.shared("0.9.0")
    ((context, further),), negative = prompts(clip)
    longer = torch.cat([context, torch.randn(1, 44, tiny.TEXT)], 1)
    hidden = torch.cat([further["attention_mask"], torch.zeros(1, 44, dtype=torch.long)], 1)

    def sample(context, **entries):
        given = [[context, entries]]
        return embedded.sample(model, given, negative, empty(model), make_run(schedule_of(model, 2), 3.0, 7))

    expected = sample(context, **further)
    assert (sample(longer, attention_mask=hidden) - expected).abs().max() <= 1e-5
    assert (sample(longer) - expected).abs().max() > 1e-3  # all 300 tokens are read
    real = int(further["attention_mask"].sum())
    assert (sample(context[:, :real]) - expected).abs().max() <= 1e-5


def test_the_comparison_notices_a_wrong_shift_rate_mask_and_position():
    model, clip, _ = tiny.shared("0.9.5")
    conditionings = prompts(clip)
    expected = run(reference("0.9.5"), given(conditionings), 4, 3.0, frame_rate=25)

    def error(model=model, conditionings=conditionings, shift=None):
        schedule = schedule_of(model, 4, shift=shift)
        return (embedded.sample(model, *conditionings, empty(model), make_run(schedule, 3.0, 7)) - expected).abs().max()

    def with_entries(**entries):
        return [[[context, {**further, **entries}]] for ((context, further),) in conditionings]

    assert error() <= 1e-4
    assert error(shift=1.5) > 1e-2
    assert error(conditionings=with_entries(frame_rate=30.0)) > 1e-2
    assert error(conditionings=with_entries(attention_mask=None)) > 1e-3
    variant = replace(model.part.variant, facts=model.part.variant.facts | {"is_causal": False})
    assert error(replace(model, part=replace(model.part, variant=variant))) > 1e-2


@pytest.mark.parametrize("share", [0.7, 1.0])
def test_rescaled_guidance_is_the_pipelines(share):
    model, clip, _ = tiny.shared("0.9.0")
    conditionings = prompts(clip)
    expected = run(reference("0.9.0"), given(conditionings), 4, 8.0, guidance_rescale=share)
    rescaled, plain = (
        make_run(schedule_of(model, 4), 8.0, 7, guides=lambda step, cfg: guides(cfg, cfg_rescale=share)),
        make_run(schedule_of(model, 4), 8.0, 7),
    )
    got, plain = (embedded.sample(model, *conditionings, empty(model), one) for one in (rescaled, plain))
    assert (got - expected).abs().max() <= 1e-4
    assert (got - plain).abs().max() > 1e-2


def test_a_distilled_run_is_the_pipelines():
    model, clip, _ = tiny.shared("0.9.8-distilled")
    conditionings = prompts(clip)
    timesteps = [1000 * level for level in FIRST_PASS]
    expected = run(reference("0.9.8-distilled"), given(conditionings), None, 1.0, timesteps=timesteps, frame_rate=30)
    assert (model.part.variant.defaults.steps, model.part.variant.defaults.guidance) == (7, 1.0)
    got = embedded.sample(model, *conditionings, empty(model), make_run(schedule_of(model, 7), 1.0, 7))
    assert (got - expected).abs().max() <= 1e-4


def test_0_9_6_distilled_draws_new_noise_at_every_step_from_the_seed():
    """stochastic_sampling in configs/ltxv-2b-0.9.6-distilled.yaml; the step is RectifiedFlowScheduler.step's."""
    model, clip, _ = tiny.shared("0.9.5")
    distilled = ltx_video.read(configs(vae=VAE_095, scheduler=STATIC, folder={"name": "ltxv-2b-0.9.6-distilled"}))
    variant = replace(model.part.variant, sigmas=distilled.sigmas, scheduler=distilled.scheduler)
    model = replace(model, part=replace(model.part, variant=variant))
    positive, negative = prompts(clip)
    schedules = [schedule_of(model, 8, seed=seed) for seed in (7, 7, 8)]
    first, again, other = (
        embedded.sample(model, positive, negative, empty(model), make_run(s, 1.0, 7)) for s in schedules
    )
    assert torch.equal(first, again) and (first - other).abs().max() > 1e-2

    schedule, x = schedule_of(model, 8), torch.randn(1, 128, 3, 2, 3)
    noise = torch.randn(x.shape, generator=torch.Generator().set_state(schedule.generator.get_state()))
    levels = linear_quadratic(8)
    clean = x - levels[0] * 0.5 * x
    moved = schedule.advance(0.5 * x, 0, x)
    assert (moved - ((1 - levels[1]) * clean + levels[1] * noise)).abs().max() <= 1e-5


# --- pictures ---


def pictures(vae, strength=1.0, start=True, end=False) -> Pictures:
    generator = torch.Generator().manual_seed(3)
    first, last = (torch.rand(1, 3, 1, SIZE[1], SIZE[0], generator=generator) * 2 - 1 for _ in range(2))
    encode = torch.inference_mode()(vae.part.encode)
    return Pictures(first if start else None, last if end else None, SIZE[2], strength, None, encode)


def from_pictures(model, conditionings, guided, schedule, cfg, seed):
    latent = {"samples": guided.samples}
    if guided.mask is not None:
        latent["noise_mask"] = guided.mask
    filled = [[[context, {**further, **guided.entries}]] for ((context, further),) in conditionings]
    return embedded.sample(model, *filled, latent, make_run(schedule, cfg, seed))


@pytest.mark.parametrize("kind", ["0.9.0", "0.9.1"])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_image_to_video_is_the_pipelines(kind, cfg):
    model, clip, vae = tiny.shared(kind)
    conditionings = prompts(clip)
    guided = ltx_video.image_to_video(model.part.variant, pictures(vae))
    assert guided.entries == {} and guided.mask.shape == (1, 1, 3, 2, 3)
    assert guided.mask[:, :, 0].eq(0).all() and guided.mask[:, :, 1:].eq(1).all()
    noise = torch.randn(1, tiny.CHANNELS, 3, 2, 3, generator=torch.Generator().manual_seed(7))
    noise[:, :, :1] = guided.samples[:, :, :1]
    arguments = given(conditionings) | {"latents": noise.flatten(2).transpose(1, 2)}
    expected = run(reference(kind, "LTXImageToVideoPipeline"), arguments, 4, cfg)
    got = from_pictures(model, conditionings, guided, schedule=schedule_of(model, 4), cfg=cfg, seed=7)
    assert (got - expected).abs().max() <= 1e-4
    assert torch.equal(got[:, :, 0], guided.samples[:, :, 0])


@pytest.mark.parametrize(("start", "end"), [(True, False), (True, True), (False, True)])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_start_and_end_pictures_are_the_condition_pipelines(start, end, cfg):
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
    from PIL import Image

    model, clip, vae = tiny.shared("0.9.7")
    conditionings, shown = prompts(clip), pictures(vae, start=start, end=end)
    conditions = []
    pixels = {}
    for picture, frame in ((shown.start, 0), (shown.end, SIZE[2] - 1)):
        if picture is not None:
            pixels[frame] = ((picture[0, :, 0] + 1) * 127.5).round().byte().permute(1, 2, 0)
            conditions.append(LTXVideoCondition(image=Image.fromarray(pixels[frame].numpy()), frame_index=frame))
    exact = {n: value.permute(2, 0, 1)[None, :, None].float() / 127.5 - 1 for n, value in pixels.items()}
    shown = replace(shown, start=exact.get(0), end=exact.get(SIZE[2] - 1))
    guided = ltx_video.image_to_video(model.part.variant, shown)
    expected = run(
        reference("0.9.7"), given(conditionings) | {"conditions": conditions}, 4, cfg, image_cond_noise_scale=0.0,
        frame_rate=30,
    )  # fmt: skip
    got = from_pictures(model, conditionings, guided, schedule=schedule_of(model, 4), cfg=cfg, seed=7)
    assert (got - expected).abs().max() <= 1e-4
    without = embedded.sample(model, *conditionings, empty(model), make_run(schedule_of(model, 4), cfg, 7))
    assert (got - without).abs().max() > 1e-2


def test_a_strength_below_1_lets_the_picture_change():
    model, clip, vae = tiny.shared("0.9.7")
    guided = ltx_video.image_to_video(model.part.variant, pictures(vae, strength=0.75, end=True))
    assert guided.mask[:, :, 0].eq(0.25).all() and guided.entries["end_noise"] == 0.25
    # The start picture's tokens are told a quarter of the timestep, the end picture's always 250.
    told = []
    hook = model.part.transformer.register_forward_pre_hook(
        lambda _, a, k: told.append(k["timestep"]), with_kwargs=True
    )
    got = from_pictures(model, prompts(clip), guided, schedule=schedule_of(model, 2), cfg=1.0, seed=7)
    hook.remove()
    assert told[0].shape == (1, 24)
    assert told[0][0, ::6].tolist() == [250.0, 1000.0, 1000.0, 250.0]
    assert told[1][0, ::6].tolist() == pytest.approx([243.75, 975.0, 975.0, 250.0])
    assert torch.isfinite(got).all() and not torch.allclose(got[:, :, 0], guided.samples[:, :, 0], atol=1e-3)


def test_cores_keyframes_are_placed_where_they_say():
    """`keyframe_idxs` of core's LTXVAddGuide: the last latent frames are guides at positions of their own."""
    model, clip, _ = tiny.shared("0.9.7")
    seen = []
    hook = model.part.transformer.register_forward_pre_hook(lambda _, a, k: seen.append(k), with_kwargs=True)
    ((context, further),), negative = prompts(clip)
    places = torch.tensor([16.0, 0.0, 0.0]).view(1, 3, 1).repeat(1, 1, 6)
    positive = [[context, further | {"keyframe_idxs": places}]]
    mask = torch.ones(1, 1, 3, 2, 3)
    mask[:, :, -1] = 0
    latent = {"samples": torch.ones(1, tiny.CHANNELS, 3, 2, 3), "noise_mask": mask}
    embedded.sample(model, positive, negative, latent, make_run(schedule_of(model, 1), 1.0, 7))
    hook.remove()
    times, coords = seen[0]["timestep"][0], seen[0]["video_coords"][0]
    assert times[:12].eq(1000).all() and times[12:].eq(0).all()
    assert coords[0].tolist() == pytest.approx([0.0] * 6 + [1 / 30] * 6 + [16 / 30] * 6)
    assert coords[1:, 12:].eq(0).all() and coords[1, 6:12].tolist() == [0, 0, 0, 32, 32, 32]


@pytest.mark.parametrize(
    ("kind", "start", "end", "said"),
    [
        ("0.9.7", False, False, "No picture is given. Connect a start picture, an end picture or both."),
        ("0.9.1", True, True, "LTX-Video tiny starts from a picture but knows no end picture; 0.9.5 and newer do. "),
    ],
)
def test_pictures_that_cannot_be_used(kind, start, end, said):
    model, _, vae = tiny.shared(kind)
    with pytest.raises(FamilyError) as error:
        ltx_video.image_to_video(model.part.variant, pictures(vae, start=start, end=end))
    assert str(error.value).startswith(said)


# --- decoding ---


@pytest.mark.parametrize("kind", ["0.9.0", "0.9.1", "0.9.5"])
def test_frames_are_the_pipelines(kind, monkeypatch):
    """Without the decoder's noise, which diffusers adds elsewhere, see below."""
    model, clip, vae = tiny.shared(kind)
    monkeypatch.setattr(ltx_video, "DECODE_NOISE", 0.0)
    conditionings = prompts(clip)
    torch.manual_seed(0)
    frames = run(
        reference(kind), given(conditionings), 3, 3.0, frame_rate=25, output_type="pt", decode_timestep=0.05,
        decode_noise_scale=0.0,
    )  # fmt: skip
    samples = embedded.sample(model, *conditionings, empty(model), make_run(schedule_of(model, 3), 3.0, 7))
    images = embedded.decode(vae, samples)
    expected = frames[0].permute(0, 2, 3, 1)
    assert images.shape == expected.shape == (17, 64, 96, 3)
    assert -10 * math.log10(max((images - expected).square().mean().item(), 1e-12)) >= 50


@pytest.mark.parametrize("kind", ["0.9.1", "0.9.5"])
def test_the_decoders_noise_goes_into_the_normalised_latent(kind):
    """Lightricks/LTX-Video @5260738, pipeline_ltx_video.py: mixed first, vae_decode takes the normalisation back."""
    _, _, vae = tiny.shared(kind)
    module, latent = vae.part.vae, torch.randn(1, tiny.CHANNELS, 2, 2, 3)
    mean, std = (getattr(module, name).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(5))
    time = torch.tensor([0.05])
    with torch.inference_mode():
        torch.manual_seed(5)
        original = module.decode((0.975 * latent + 0.025 * noise) * std + mean, time, return_dict=False)[0]
        torch.manual_seed(5)
        diffusers = module.decode(0.975 * (latent * std + mean) + 0.025 * noise, time, return_dict=False)[0]
        torch.manual_seed(1)
        before = torch.get_rng_state()
        got, again, other = (vae.part.decode(latent, seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert (got - original).abs().max() <= 1e-6 and torch.equal(got, again)
    assert (got - diffusers).abs().max() > 1e-4 and (got - other).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["0.9.0", "0.9.1", "0.9.5"])
def test_the_vae_folds_and_normalises(kind):
    _, _, vae = tiny.shared(kind)
    module, video = vae.part.vae, torch.rand(1, 3, 9, 64, 96) * 2 - 1
    with torch.inference_mode():
        latent = vae.part.encode(video)
        raw = module.encode(video).latent_dist.mean
        decoded = vae.part.decode(latent)
    assert latent.shape == (1, *vae.part.variant.geometry.latent_shape(96, 64, 9)) == (1, tiny.CHANNELS, 2, 2, 3)
    mean, std = (getattr(module, name).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    assert (latent * std + mean - raw).abs().max() <= 1e-5
    assert decoded.shape == video.shape


# --- through the nodes ---


def test_from_a_picture_to_frames_with_a_distilled_checkpoint():
    model, clip, vae = tiny.shared("0.9.8-distilled")
    positive, negative = prompts(clip)
    image = torch.rand(1, 64, 96, 3)
    (positive, negative, latent, *size), _ = call(
        "OpenT2VImageToVideo", model=model, vae=vae, positive=positive, negative=negative, start_image=image
    )
    assert size == [*SIZE, 30.0] and latent["noise_mask"].shape == (1, 1, 3, 2, 3)
    (sampled, _), ui = call("OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent)
    assert remarks(ui) == "7 steps, cfg 1, FlowMatchEulerDiscrete, seed 0"
    assert torch.equal(sampled["samples"][:, :, :1], vae.part.encode(image.permute(0, 3, 1, 2).unsqueeze(2) * 2 - 1))
    (images, _), _ = call("OpenT2VDecode", vae=vae, latent=sampled)
    assert images.shape == (17, 64, 96, 3) and torch.isfinite(images).all()
    with pytest.raises(FamilyError, match="20 steps are asked for; LTX-Video tiny knows the noise levels of 7 or 8"):
        call("OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent, steps=20)
