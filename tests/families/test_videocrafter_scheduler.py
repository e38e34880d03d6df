"""The scaled DDIM is diffusers' where nothing is scaled, and keeps to its own line where the clean latent fades."""

from __future__ import annotations

import pytest
import torch

from opent2v.families.videocrafter.scheduler import ScaledDDIMScheduler
from opent2v.sampling.prediction import Discrete, alphas_of, signal_of

CONFIG = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
FADING = {**CONFIG, "signal_scale": 0.7, "signal_scale_steps": 400}


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_without_a_scale_it_is_diffusers_ddim(eta):
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(
        **CONFIG, timestep_spacing="leading", steps_offset=1, set_alpha_to_one=False, clip_sample=False
    )
    ours = ScaledDDIMScheduler(alphas_of(CONFIG), torch.ones(1000).double(), eta)
    theirs.set_timesteps(20)
    ours.set_timesteps(20)
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    noise, own = (torch.Generator().manual_seed(1) for _ in range(2))
    x = y = torch.randn(1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    for index, t in enumerate(theirs.timesteps):
        output = torch.sin(3 * x)
        x = theirs.step(output, int(t), x, eta=eta, generator=noise, return_dict=False)[0]
        y = ours.step(output, index, y, own)
        assert (x - y).abs().max() <= 1e-4


def test_a_perfect_prediction_leads_to_the_clean_latent():
    alphas, signal = alphas_of(FADING), signal_of(FADING)
    assert signal is not None
    scheduler = ScaledDDIMScheduler(alphas, signal, 0.0)
    scheduler.set_timesteps(10)
    clean, noise = torch.randn(2, 1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    first = scheduler.timesteps[0]
    x = clean * float(alphas[first].sqrt() * signal[first]) + noise * float((1 - alphas[first]).sqrt())
    for index in range(10):
        x = scheduler.step(noise, index, x, None)
    # What is left is the least noise of the table.
    assert (x - clean * float(alphas[0].sqrt()) - noise * float((1 - alphas[0]).sqrt())).abs().max() <= 1e-5


def test_the_clean_latent_fades_over_the_first_timesteps():
    signal = signal_of(FADING)
    assert signal is not None and len(signal) == 1000
    assert signal[[0, 399, 400, 999]].tolist() == pytest.approx([1, 0.7, 0.7, 0.7])
    assert bool((signal[:400].diff() < 0).all()) and signal_of(CONFIG) is None


def test_what_the_model_sees_is_as_wide_as_its_parts():
    """sqrt(alpha) * signal * clean + sqrt(1 - alpha) * noise, from the host's clean + sigma * noise and back."""
    predicts = Discrete("eps", alphas_of(FADING), signal_of(FADING))
    sigma = predicts.sigma(torch.tensor([1, 100, 399, 700, 999]))
    clean, noise = torch.randn(2, 5, 4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    x = predicts.noised(clean, noise, sigma)
    seen, spread = predicts.model_input(x, sigma), predicts.spread(sigma)
    alphas, signal = predicts.alphas, predicts.signal
    assert signal is not None and spread is not None
    for n, t in enumerate((1, 100, 399, 700, 999)):
        expected = clean[n] * float(alphas[t].sqrt() * signal[t]) + noise[n] * float((1 - alphas[t]).sqrt())
        assert (seen[n] - expected).abs().max() <= 1e-5
        assert spread[n].item() == pytest.approx(float((alphas[t] * signal[t] ** 2 + 1 - alphas[t]).sqrt()))
    assert (predicts.host_input(seen, sigma) - x).abs().max() <= 1e-4
    assert (predicts.clean(x, noise, sigma) - clean).abs().max() <= 1e-4
