"""The same latents and frames as diffusers' CogVideoX pipelines, from the same folder, prompt, noise and scheduler."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from opent2v.base import Pictures
from opent2v.host import embedded
from opent2v.sampling import make_run, make_schedule
from opent2v.tests.tiny import cogvideox as tiny_cog

pytest.importorskip("accelerate", reason="diffusers loads its own pipeline only where accelerate is installed")
PROMPT, NEGATIVE, SEED = "a green star moving left, grey background", "blurry, noisy", 7


@cache
def pipeline_of(kind):
    import diffusers

    pipeline = getattr(diffusers, tiny_cog.pipeline_name(kind)).from_pretrained(tiny_cog.folder(kind))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(autouse=True)
def _mean_of_the_picture(monkeypatch):
    """The pipelines draw the picture's latent from the VAE's distribution; ours takes its mean, as ComfyUI does."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())


def picture(height=32, width=48):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def expected(kind, steps, cfg, size=(48, 32, 17), output="latent", **further):
    """What the pipeline makes of our noise; its generator makes the noise of the steps alone."""
    variant = tiny_cog.shared(kind)[0].part.variant
    width, height, frames = size
    channels, latent_frames, *rest = variant.geometry.latent_shape(*size)
    shape = (1, channels, latent_frames + variant.geometry.front_padding(latent_frames), *rest)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(SEED))
    if tiny_cog.is_image(kind):
        further["image"] = picture(height, width)
    made = pipeline_of(kind)(
        prompt=PROMPT, negative_prompt=NEGATIVE, width=width, height=height, num_frames=frames,
        num_inference_steps=steps, guidance_scale=cfg, max_sequence_length=tiny_cog.TOKENS,
        latents=noise.transpose(1, 2), output_type=output,
        generator=make_schedule(variant.scheduler, steps=1, kind="v", seed=SEED).generator, **further,
    ).frames  # fmt: skip
    padding = variant.geometry.front_padding(latent_frames)
    return made.transpose(1, 2)[:, :, padding:] if output == "latent" else made[0]


def ours(kind, steps, cfg, size=(48, 32, 17), change=None, scheduler=None, seed=SEED):
    """Our latents, as a LATENT holds them; `change` alters the variant, to see that it matters."""
    model, clip, vae = tiny_cog.shared(kind)
    if change is not None:
        part = replace(model.part, variant=change(model.part.variant))
        model = replace(model, part=part)
    variant = model.part.variant
    conditioning = [embedded.embed(clip, text) for text in (PROMPT, NEGATIVE)]
    latent = {"samples": torch.zeros(1, *variant.geometry.latent_shape(*size))}
    if tiny_cog.is_image(kind):
        start = picture(size[1], size[0]).unsqueeze(2) * 2 - 1
        guided = variant.family.images.prepare(variant, Pictures(start, None, size[2], 1.0, None, vae.part.encode))
        conditioning = [[[c, {**further, **guided.entries}] for c, further in one] for one in conditioning]
    schedule = make_schedule({**variant.scheduler, **(scheduler or {})}, steps=steps, kind="v", seed=seed)
    scales = cfg if isinstance(cfg, float) else variant.family.sampling.cfg(variant, *cfg, schedule.timesteps)
    return embedded.sample(model, *conditioning, latent, make_run(schedule, scales, SEED))


def error(kind, samples, reference):
    return (tiny_cog.shared(kind)[0].part.variant.normalise(samples) - reference).abs().max().item()


@pytest.mark.parametrize("kind", tiny_cog.KINDS)
@pytest.mark.parametrize(("steps", "cfg"), [(7, 1.0), (10, 6.0)])
def test_latents_and_frames(kind, steps, cfg):
    samples = ours(kind, steps, cfg)
    assert error(kind, samples, expected(kind, steps, cfg)) <= 1e-4
    images = embedded.decode(tiny_cog.shared(kind)[2], samples)
    frames = expected(kind, steps, cfg, output="pt").permute(0, 2, 3, 1)
    assert images.shape == frames.shape == (17, 32, 48, 3)
    assert (images - frames).square().mean() <= 1e-6  # 60 dB


@pytest.mark.parametrize("kind", ["2b", "5b", "1.5", "1.5-i2v"])
@pytest.mark.parametrize("size", [(32, 64, 9), (80, 48, 33), (32, 32, 1)])
def test_other_sizes_and_lengths(kind, size):
    assert error(kind, ours(kind, 3, 6.0, size), expected(kind, 3, 6.0, size)) <= 1e-4


@pytest.mark.parametrize("kind", ["5b", "1.5-i2v"])
def test_dynamic_cfg(kind):
    reference = expected(kind, 10, 6.0, use_dynamic_cfg=True)
    assert error(kind, ours(kind, 10, ("dynamic (reference)", 6.0)), reference) <= 1e-4
    assert error(kind, ours(kind, 10, ("dynamic", 6.0)), reference) > 1e-3


def _facts(**changed):
    return lambda variant: replace(variant, facts={**variant.facts, **changed})


WRONG = {
    "no positions": ("5b", {"change": _facts(is_rotary=False)}),
    "positions of another size": ("5b", {"change": _facts(base=(4, 6))}),
    "a picture scaled the other way": ("1.5-i2v", {"change": _facts(picture_scale=0.7)}),
    "another shift of the table": ("2b", {"scheduler": {"snr_shift_scale": 1.0}}),
    "no zero signal at the start": ("5b", {"scheduler": {"rescale_betas_zero_snr": False}}),
    "other noise in the steps": ("5b", {"seed": SEED + 1}),
    "eps for v": ("2b", {"change": lambda variant: replace(variant, prediction="eps")}),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_comparison_notices(wrong):
    kind, settings = WRONG[wrong]
    assert error(kind, ours(kind, 7, 6.0, **settings), expected(kind, 7, 6.0)) > 1e-3


@pytest.mark.parametrize("kind", ["5b", "1.5"])
def test_a_mask_keeps_its_region(kind):
    model, clip, _ = tiny_cog.shared(kind)
    variant = model.part.variant
    conditioning = [embedded.embed(clip, text) for text in (PROMPT, NEGATIVE)]
    mask = torch.ones(1, 1, 5, 4, 6)
    mask[:, :, :2] = 0
    samples = torch.randn(1, 16, 5, 4, 6)
    for denoise in (1.0, 0.5):
        schedule = make_schedule(variant.scheduler, steps=5, kind="v", seed=1, denoise=denoise)
        latent = {"samples": samples, "noise_mask": mask}
        end = embedded.sample(model, *conditioning, latent, make_run(schedule, 6.0, 1))
        assert end.shape == samples.shape
        assert torch.allclose(end[:, :, :2], samples[:, :, :2], atol=1e-5)
        assert not torch.allclose(end[:, :, 2:], samples[:, :, 2:], atol=0.1)
