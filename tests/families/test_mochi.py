"""Mochi: the same latents as diffusers' pipeline, frames as the original's; refusals; the schedule."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from opent2v.base import FamilyError, Sampling
from opent2v.families import mochi
from opent2v.host import embedded
from opent2v.loaders import open_folder
from opent2v.sampling import make_run, make_schedule
from opent2v.tests.tiny import mochi as tiny_mochi
from opent2v.tests.tiny import wan as tiny

PROMPT, NEGATIVE = "a green star moving left, grey background", "blurry, noisy"


@pytest.fixture(scope="module")
def pipeline():
    pytest.importorskip("accelerate", reason="diffusers loads its own pipeline only where accelerate is installed")
    from diffusers import MochiPipeline

    pipeline = MochiPipeline.from_pretrained(tiny_mochi.folder(), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(variant, model, conditioning, noise_seed, *, steps, cfg, **changes):
    shape = (1, *variant.geometry.latent_shape(32, 32, 13))
    schedule = make_schedule(
        variant.scheduler,
        steps=steps,
        sigmas=lambda total: variant.family.sampling.sigmas(variant, total, None, shape),
        **changes,
    )
    latent = {"samples": torch.zeros(shape)}
    return embedded.sample(model, *conditioning, latent, make_run(schedule, cfg, noise_seed))


@pytest.mark.parametrize(("steps", "cfg", "negative"), [(5, 1.0, ""), (8, 4.5, ""), (8, 4.5, NEGATIVE)])
def test_latents_are_the_pipelines(pipeline, steps, cfg, negative):
    model, clip, vae = tiny_mochi.hosted()
    variant = model.part.variant
    call = {
        "prompt": PROMPT, "negative_prompt": negative, "width": 32, "height": 32, "num_frames": 13,
        "num_inference_steps": steps, "guidance_scale": cfg, "max_sequence_length": 24,
    }  # fmt: skip
    expected, frames = (
        torch.as_tensor(pipeline(**call, generator=torch.Generator().manual_seed(7), output_type=kind).frames)
        for kind in ("latent", "np")
    )
    conditioning = embedded.embed(clip, PROMPT), embedded.embed(clip, negative)
    samples = run(variant, model, conditioning, 7, steps=steps, cfg=cfg)
    assert (variant.normalise(samples) - expected).abs().max() <= 1e-4
    images = embedded.decode(vae, samples)
    assert images.shape == frames[0].shape


def test_the_equality_would_notice_a_wrong_mask_and_a_wrong_schedule(pipeline):
    model, clip, _ = tiny_mochi.hosted()
    variant = model.part.variant
    conditioning = [embedded.embed(clip, text) for text in (PROMPT, NEGATIVE)]
    right = run(variant, model, conditioning, 7, steps=6, cfg=4.5)
    unmasked = [[[c, {"pooled_output": None}]] for ((c, _),) in conditioning]
    assert (run(variant, model, unmasked, 7, steps=6, cfg=4.5) - right).abs().max() > 1e-2
    line = lambda variant, steps, *_: [1 - n / steps for n in range(steps)]  # noqa: E731
    straight = replace(variant, family=replace(variant.family, sampling=Sampling(line)))
    assert (run(straight, model, conditioning, 7, steps=6, cfg=4.5) - right).abs().max() > 1e-2


def test_an_empty_prompt_leaves_nothing_as_the_original_does():
    _, clip, _ = tiny_mochi.hosted()
    ((context, further),) = embedded.embed(clip, "")
    assert context.eq(0).all() and further["attention_mask"].eq(0).all()
    ((context, further),) = embedded.embed(clip, "red")
    assert context[0, 0].ne(0).any() and 1 < int(further["attention_mask"].sum()) < 24


@pytest.mark.parametrize("steps", [2, 3, 8, 33, 64])
def test_the_schedule_is_the_originals(steps):
    from diffusers.pipelines.mochi.pipeline_mochi import linear_quadratic_schedule

    variant = tiny_mochi.hosted()[0].part.variant
    assert mochi.sigmas(variant, steps, None, ()) == pytest.approx(linear_quadratic_schedule(steps, 0.025), abs=1e-12)


def test_one_step_and_a_shift_of_ones_own():
    variant = tiny_mochi.hosted()[0].part.variant
    assert mochi.sigmas(variant, 1, None, ()) == [1.0]
    assert mochi.sigmas(variant, 2, 6.0, ()) == pytest.approx([1.0, 6 * 0.5 / 3.5])


def test_a_published_folder():
    configs = {
        "transformer": {"in_channels": 12, "patch_size": 2, "text_embed_dim": 4096},
        "vae": {"latent_channels": 12, "latents_mean": mochi.MEAN, "latents_std": mochi.STD, "scaling_factor": 1.0},
        "text_encoder": {"d_model": 4096},
        "scheduler": mochi.SCHEDULER,
    }
    variant = mochi.read(configs)
    own = variant.defaults
    assert variant.title == "Mochi 1"
    assert (own.width, own.height, own.frames, own.fps, own.steps, own.guidance) == (848, 480, 19, 30, 64, 4.5)
    assert variant.geometry.latent_shape(848, 480, 163) == (12, 28, 60, 106)
    assert variant.geometry.legal(850, 477, 20) == (848, 480, 19)
    latent = torch.randn(1, 12, 2, 3, 3)
    assert torch.allclose(variant.denormalise(variant.normalise(latent)), latent, atol=1e-6)


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("vae", {"latent_channels": 16}, "The VAE makes 16 latent channels and the transformer takes 12"),
        ("text_encoder", {"d_model": 768}, "The text encoder is 768 wide and the transformer expects 16"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, part, change, said):
    tiny_mochi.make(tmp_path / "model")
    tiny.edit(tmp_path / "model" / part / "config.json", **change)
    with pytest.raises(FamilyError, match=said):
        open_folder(tmp_path / "model")


def test_decoding_drops_the_lead_at_every_stage_and_leaves_the_vae_as_it_was():
    """Source: genmoai/mochi, DepthToSpaceTime: each stage drops its first frames before the next one looks at them."""
    _, _, hosted = tiny_mochi.hosted()
    vae, latent = hosted.part.vae, torch.randn(1, 12, 3, 4, 4)
    with torch.inference_mode():
        made = hosted.part.decode(latent)
        plain = vae.decode(latent, return_dict=False)[0]
        x = vae.decoder.block_in(vae.decoder.conv_in(latent))[0]
        for stage in vae.decoder.up_blocks:
            x = stage(x)[0][:, :, stage.temporal_expansion - 1 :]
        x = vae.decoder.nonlinearity(vae.decoder.block_out(x)[0])
        x = vae.decoder.proj_out(x.movedim(1, -1)).movedim(-1, 1)
    assert made.shape == plain.shape == (1, 3, 13, 32, 32)
    assert torch.allclose(made, x, atol=1e-6)
    assert (made - plain).abs().max() > 1e-3  # diffusers' own first frames have seen more
