"""A second run on a larger latent: noise levels of its own, and pictures put into the latent.

Tests: nodes/sampling.py, nodes/picture.py, sampling/schedule.py
"""

from __future__ import annotations

import pytest
import torch

from opent2v.host import embedded
from opent2v.sampling import SamplerRequest, SamplingError, plan_run
from opent2v.sampling.schedule import read_sigmas
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import ltx2 as tiny
from opent2v.tests.tiny import wan

STAGE_2 = (0.85, 0.725, 0.421875)
VARIANT = tiny.variant_of("2.3")[1]


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize(
    ("text", "levels"),
    [("", ()), ("0.85, 0.7250, 0.421875, 0.0", STAGE_2), (" 1 0.5\n", (1.0, 0.5)), ("0", ())],
)
def test_sigmas_are_read_from_a_text(text, levels):
    assert read_sigmas(text) == levels


@pytest.mark.parametrize("solver", ["reference", "euler", "unipc", "dpm++ 2m"])
def test_a_run_walks_the_levels_that_are_asked_for(solver):
    run = plan_run(VARIANT, SamplerRequest(sigmas=STAGE_2, solver=solver, steps=8, cfg=1.0), (1, 128, 3, 4, 6))
    assert run.schedule.sigmas.tolist() == pytest.approx([*STAGE_2, 0.0]) and not run.schedule.starts_from_noise
    assert [step.timestep for step in run.steps] == pytest.approx([1000 * level for level in STAGE_2])
    whole = plan_run(VARIANT, SamplerRequest(sigmas=(1.0, 0.5)), (1, 128, 3, 4, 6))
    assert whole.schedule.starts_from_noise and whole.schedule.sigmas.tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigmas": (0.4, 0.8)}, "sigmas are 0.4, 0.8; expected falling numbers"),
        ({"sigmas": (1.2, 0.8)}, "expected falling numbers above 0 up to 1"),
        ({"sigmas": (0.8, 0.8)}, "expected falling numbers"),
        ({"sigmas": STAGE_2, "denoise": 0.5}, r"shift is 0 and denoise 0\.5; sigmas take the place of both"),
        ({"sigmas": STAGE_2, "shift": 3.0}, "shift is 3 and denoise 1; sigmas take the place of both"),
    ],
)
def test_levels_that_cannot_be_walked_are_refused(settings, message):
    with pytest.raises(SamplingError, match=message):
        plan_run(VARIANT, SamplerRequest(**settings), (1, 128, 3, 4, 6))


def test_words_are_refused():
    with pytest.raises(SamplingError, match=r"sigmas is '0\.8; 0\.4'; expected numbers with commas"):
        read_sigmas("0.8; 0.4")


@pytest.fixture(scope="module")
def run():
    """(MODEL, CONDITIONING, VAE) of the tiny Wan, and its first run's latent."""
    model, clip, vae, *_ = wan.shared()
    positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive="a red circle", negative="")[0]
    words = {"positive": positive, "negative": negative}
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=model, width=32, height=32, frames=5)
    (first, _), _ = call("OpenT2VSampler", model=model, **words, latent=latent, seed=1, steps=2)
    return model, vae, words, latent, first


def test_a_second_run_equals_the_end_of_the_first(run):
    """The last steps of a run on its own noisy latent are what denoise below 1 walks."""
    model, _, words, _, first = run
    by_denoise, _ = call(
        "OpenT2VSampler", model=model, **words, latent=first, seed=3, steps=2, denoise=0.5, solver="euler"
    )
    levels = plan_run(
        embedded.variant(model), SamplerRequest(steps=2, denoise=0.5, solver="euler"), tuple(first["samples"].shape)
    ).schedule.sigmas
    text = ", ".join(f"{level:.9g}" for level in levels.tolist())
    by_levels, ui = call("OpenT2VSampler", model=model, **words, latent=first, seed=3, sigmas=text, solver="euler")
    torch.testing.assert_close(by_levels[0]["samples"], by_denoise[0]["samples"], atol=1e-5, rtol=0)
    assert remarks(ui).startswith("2 steps")
