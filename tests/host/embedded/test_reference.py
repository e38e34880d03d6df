"""The same latents and frames as diffusers' own pipeline, from the same folder, prompt, seed and scheduler.

Tests: host/embedded/sample.py
"""

from __future__ import annotations

import math

import pytest
import torch

from opent2v.host import embedded
from opent2v.sampling import make_run, make_schedule
from opent2v.tests.tiny import wan as tiny

pytest.importorskip("accelerate", reason="diffusers loads its own pipeline only where accelerate is installed")
PROMPT, NEGATIVE = "a green star moving left, grey background", "blurry, noisy"


@pytest.fixture(scope="module", params=["plain", "euler", "ti2v", "bundled"])
def both(request):
    """(diffusers' pipeline, our MODEL, CLIP and VAE) of one folder."""
    from diffusers import WanPipeline

    if request.param == "bundled" and not (tiny.BUNDLED / "model_index.json").is_file():
        pytest.skip("the bundled model is not there")
    folder = tiny.BUNDLED if request.param == "bundled" else tiny.folder(request.param)
    pipeline = WanPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, *tiny.hosted(folder)


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_latents_and_frames(both, cfg):
    pipeline, model, clip, vae = both
    variant = model.part.variant
    own, steps = variant.defaults, 8
    call = {
        "prompt": PROMPT, "negative_prompt": NEGATIVE, "width": own.width, "height": own.height,
        "num_frames": own.frames, "num_inference_steps": steps, "guidance_scale": cfg,
        "max_sequence_length": variant.prompts[0].max_tokens,
    }  # fmt: skip
    expected, frames = (
        torch.as_tensor(pipeline(**call, generator=torch.Generator().manual_seed(7), output_type=kind).frames)
        for kind in ("latent", "np")
    )

    conditioning = embedded.embed(clip, PROMPT), embedded.embed(clip, NEGATIVE)
    latent = {"samples": torch.zeros(1, *variant.geometry.latent_shape(own.width, own.height, own.frames))}
    schedule = make_schedule(variant.scheduler, steps=steps)
    samples = embedded.sample(model, *conditioning, latent, make_run(schedule, cfg, 7))
    images = embedded.decode(vae, samples)

    assert (variant.normalise(samples) - expected).abs().max() <= 1e-4
    assert images.shape == frames[0].shape
    assert psnr(images, frames[0]) >= 60


def psnr(images, reference) -> float:
    error = (images - reference).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)
