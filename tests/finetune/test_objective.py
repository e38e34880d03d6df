"""The loss of a fixed batch is that of the papers' formulas, for every family; noise levels are drawn as stated."""

from __future__ import annotations

import pytest
import torch

from opent2v.finetune.objective import NoiseLevels, draw_noise, losses
from opent2v.finetune.order import generator_of
from opent2v.tests.finetune import families

# The level of each family's test: share of noise, or timestep of a table.
LEVEL = {"flow": 0.6, "v": 601, "eps": 601}


def by_hand(name: str, sample, noises, level: float) -> float:
    """The loss, computed from the formula: x_t and target written out, and the network called once."""
    model = families.training_model(name)
    part, variant, config = model.part, model.part.variant, model.part.variant.scheduler
    clean, streams = sample.streams, len(sample.streams)
    if variant.prediction == "flow":
        noisy = [(1 - level) * clean[n] + level * noises[n] for n in range(streams)]
        target = [noises[n] - clean[n] for n in range(streams)]
        t = torch.tensor([1000 * level])
    else:
        betas = torch.linspace(config["beta_start"] ** 0.5, config["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
        if config.get("beta_schedule") == "linear":
            betas = torch.linspace(config["beta_start"], config["beta_end"], 1000, dtype=torch.float64)
        alphas = torch.cumprod(1 - betas, 0)
        shift = config.get("snr_shift_scale", 1.0)
        alphas = alphas / (shift + (1 - shift) * alphas)
        if config.get("rescale_betas_zero_snr"):
            roots = alphas.sqrt()
            alphas = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
        signal = 1.0
        if "signal_scale" in config:
            steps = config["signal_scale_steps"]
            signal = 1 + (config["signal_scale"] - 1) * min(level / (steps - 1), 1)
        root, rest = alphas[int(level)].sqrt().item(), (1 - alphas[int(level)]).sqrt().item()
        noisy = [root * signal * clean[0] + rest * noises[0]]
        target = [root * noises[0] - rest * clean[0] if variant.prediction == "v" else noises[0]]
        t = torch.tensor([float(level)])
    shape = [tuple(stream.shape) for stream in clean]
    entry = {**sample.entry, "denoise_mask": None, "guidance": 1.0}
    conditions = model.conditions(entry, shape if variant.is_joint else shape[0])
    with torch.no_grad():
        output = part.predict(noisy if variant.is_joint else noisy[0], t, conditions)
    outputs = output if variant.is_joint else [output]
    return sum(((o - g).double() ** 2).mean().item() for o, g in zip(outputs, target, strict=True))


def sigma_of(name: str, level: float) -> torch.Tensor:
    levels = NoiseLevels(families.hosted(name).part.variant, (1, 16, 1, 4, 4))
    return levels.predicts.sigma(torch.tensor([1000 * level if level < 1 else level]))


@pytest.mark.parametrize("name", families.MODELS)
def test_the_loss_is_the_formulas(name):
    sample = families.sample_of(name)
    noises = draw_noise(sample, generator_of(7))
    level = LEVEL[families.hosted(name).part.variant.prediction]
    with torch.no_grad():
        loss = losses(families.training_model(name), [sample], sigma_of(name, level), [noises])
    assert loss.shape == (1,)
    assert loss.item() == pytest.approx(by_hand(name, sample, noises, level), rel=1e-6)
    assert 0.1 < loss.item() < 100


def test_wans_loss_is_that_of_diffusers_own_call():
    """The network of the library, called as its training scripts call it."""
    model, sample = families.training_model("wan"), families.sample_of("wan")
    (clean,), (noise,) = sample.streams, draw_noise(sample, generator_of(7))
    with torch.no_grad():
        output = model.part.transformer(
            hidden_states=0.4 * clean + 0.6 * noise, timestep=torch.tensor([600.0]),
            encoder_hidden_states=sample.entry["cross_attn"], return_dict=False,
        )[0]  # fmt: skip
        loss = losses(model, [sample], torch.tensor([0.6]), [(noise,)])
    assert loss.item() == pytest.approx(torch.nn.functional.mse_loss(output, noise - clean).item(), rel=1e-6)


def test_cogvideox_loss_is_that_of_diffusers_training_example():
    """examples/cogvideo/train_cogvideox_lora.py: clean latents from v, weighted by 1 / (1 - alpha)."""
    from diffusers import CogVideoXDDIMScheduler

    model, sample = families.training_model("cogvideox 2b"), families.sample_of("cogvideox 2b")
    config = {key: value for key, value in model.part.variant.scheduler.items() if not key.startswith("_")}
    scheduler = CogVideoXDDIMScheduler.from_config(config)
    (noise,), t = draw_noise(sample, generator_of(7)), torch.tensor([601])
    clean = sample.streams[0].transpose(1, 2)
    frames_noise = noise.transpose(1, 2)
    noisy = scheduler.add_noise(clean, frames_noise, t)
    with torch.no_grad():
        output = model.part.transformer(
            hidden_states=noisy, encoder_hidden_states=sample.entry["cross_attn"], timestep=t, return_dict=False
        )[0]
        loss = losses(model, [sample], sigma_of("cogvideox 2b", 601), [(noise,)])
    expected = scheduler.get_velocity(output, noisy, t)
    weight = 1 / (1 - scheduler.alphas_cumprod[t])
    assert loss.item() == pytest.approx((weight * (expected - clean) ** 2).mean().item(), rel=1e-4)


@pytest.mark.parametrize("name", ["wan ti2v", "ltx_video", "ltx2 2.0", "ltx2 2.3"])
def test_a_given_frame_is_clean_and_is_not_learned(name):
    model, sample = families.training_model(name), families.sample_of(name, pictures=True)
    noises = draw_noise(sample, generator_of(7))
    sigma = torch.tensor([0.6])
    with torch.no_grad():
        first = losses(model, [sample], sigma, [noises])
        for tensor in (sample.streams[0], noises[0]):  # neither latents nor noise of the given frame are looked at
            tensor[:, :, 0] = torch.randn(tensor[:, :, 0].shape)
        assert losses(model, [sample], sigma, [noises]).item() == pytest.approx(first.item(), rel=1e-5)
        sample.known[:, :, 0] += 1  # and the picture is
        assert abs(losses(model, [sample], sigma, [noises]).item() - first.item()) > 1e-4


def test_clips_in_one_call_have_the_losses_of_each_alone():
    model, samples = families.training_model("wan"), [families.sample_of("wan", seed) for seed in (0, 1)]
    noises = [draw_noise(sample, generator_of(7, n)) for n, sample in enumerate(samples)]
    sigmas = torch.tensor([0.3, 0.8])
    with torch.no_grad():
        both = losses(model, samples, sigmas, noises)
        alone = [losses(model, [samples[n]], sigmas[n : n + 1], [noises[n]]).item() for n in range(2)]
    assert both.tolist() == pytest.approx(alone, rel=1e-5)


def test_levels_follow_the_samplers_shift():
    levels = NoiseLevels(families.hosted("wan").part.variant, (1, 16, 3, 4, 4))
    shares = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    # The tiny folder's scheduler states shift 3.
    assert levels.at(shares).tolist() == pytest.approx((3 * shares / (1 + 2 * shares)).tolist(), abs=2e-3)
    drawn = levels.draw(20_000, generator_of(0))
    assert drawn.min() > 0 and drawn.max() <= 1
    assert drawn.median().item() == pytest.approx(0.75, abs=0.01)
    stated = NoiseLevels(levels.variant, levels.shape, shift=1.0).draw(20_000, generator_of(0))
    assert stated.median().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("name", "low", "high"), [("wan high", 0.875, 1.0), ("wan low", 0.0, 0.876)])
def test_an_expert_learns_its_own_range_only(name, low, high):
    drawn = NoiseLevels(families.hosted(name).part.variant, (1, 16, 3, 4, 4)).draw(5000, generator_of(0))
    assert low - 1e-3 <= drawn.min() and drawn.max() <= high + 1e-3
    assert drawn.max() - drawn.min() > 0.8 * (high - low)


def test_a_table_of_betas_gets_every_timestep_alike():
    levels = NoiseLevels(families.hosted("cogvideox 2b").part.variant, (1, 16, 3, 4, 4))
    drawn = levels.predicts.timestep(levels.draw(20_000, generator_of(0)))
    assert drawn.min() < 5 and drawn.max() > 994
    assert drawn.mean().item() == pytest.approx(499.5, abs=10)
