"""Predictions: each translation undoes its inverse, the table is the schedulers', and noise levels meet timesteps."""

from __future__ import annotations

import pytest
import torch

from opent2v.sampling import Discrete, Flow, SamplingError, make_schedule, prediction, solve
from opent2v.sampling.prediction import alphas_of
from opent2v.tests.tiny.cogvideox import TABLE

DDIM = {"_class_name": "CogVideoXDDIMScheduler", **TABLE, "snr_shift_scale": 3.0}
DPM = {"_class_name": "CogVideoXDPMScheduler", **TABLE, "snr_shift_scale": 1.0}
PLAIN = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
RAISED = 4.8973451890853435e-08


def kinds():
    return {
        "flow": (Flow(), [1.0, 0.7, 0.01]),
        "v": (prediction("v", DPM), [4518.0, 3.0, 0.03]),
        "eps": (prediction("eps", PLAIN), [14.6, 3.0, 0.03]),
    }


@pytest.mark.parametrize("kind", ["flow", "v", "eps"])
def test_each_translation_undoes_its_inverse(kind):
    predicts, levels = kinds()[kind]
    sigma = torch.tensor(levels, dtype=torch.float64)
    x, output = torch.randn(2, 3, 2, 1, 2, 2, dtype=torch.float64)
    assert torch.allclose(predicts.model_input(predicts.host_input(x, sigma), sigma), x, rtol=1e-12)
    assert torch.allclose(predicts.output(x, predicts.clean(x, output, sigma), sigma), output, atol=1e-9)
    clean, noise = torch.randn(2, 3, 2, 1, 2, 2, dtype=torch.float64)
    noised = predicts.noised(clean, noise, sigma)
    told = {"flow": noise - clean, "eps": noise}.get(kind)
    if told is None:  # v = sqrt(alpha) noise - sqrt(1 - alpha) clean, with alpha = 1 / (sigma^2 + 1)
        root = (sigma**2 + 1).sqrt().view(-1, 1, 1, 1, 1)
        told = noise / root - clean * sigma.view(-1, 1, 1, 1, 1) / root
    assert torch.allclose(predicts.clean(noised, told, sigma), clean, atol=1e-9)


@pytest.mark.parametrize("kind", ["v", "eps"])
def test_the_model_sees_latents_of_unit_variance(kind):
    predicts, levels = kinds()[kind]
    clean, noise = torch.randn(2, 1, 4, 8, 16, 16)
    for level in levels:
        seen = predicts.model_input(predicts.noised(clean, noise, torch.tensor([level])), torch.tensor([level]))
        assert seen.std().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    "config", [DDIM, DPM, {**DDIM, "beta_schedule": "linear"}, {**DPM, "num_train_timesteps": 500}]
)
def test_the_table_is_the_schedulers_but_for_its_last_entry(config):
    import diffusers

    scheduler = getattr(diffusers, config["_class_name"]).from_config(config)
    alphas = alphas_of(config)
    assert (alphas[:-1] - scheduler.alphas_cumprod[:-1]).abs().max() <= (1e-12 if "scaled" in str(config) else 1e-6)
    assert scheduler.alphas_cumprod[-1].item() == pytest.approx(0, abs=1e-14)
    assert (alphas.diff() < 0).all() and 1e-8 < alphas[-1] <= RAISED
    if config in (DDIM, DPM):
        assert alphas[-1] == RAISED


def test_a_table_without_zero_noise_ratio_and_one_of_stated_betas():
    from diffusers import DDIMScheduler

    assert torch.allclose(alphas_of(PLAIN), DDIMScheduler.from_config(PLAIN).alphas_cumprod.double(), rtol=1e-5)
    betas = [0.1, 0.2, 0.5]
    assert alphas_of({"trained_betas": betas}).tolist() == pytest.approx([0.9, 0.72, 0.36])


def test_a_table_nobody_knows():
    with pytest.raises(SamplingError) as error:
        alphas_of({"beta_schedule": "cosine"})
    assert str(error.value) == "The scheduler's beta_schedule is 'cosine'; expected scaled_linear or linear."
    with pytest.raises(SamplingError) as error:
        prediction("x0", DPM)
    assert str(error.value) == "No prediction is called 'x0'. Expected flow, v or eps."


@pytest.mark.parametrize("config", [DDIM, DPM, PLAIN])
def test_every_timestep_has_its_noise_level(config):
    predicts = prediction("v", config)
    timesteps = torch.arange(1000)
    sigmas = predicts.sigma(timesteps)
    assert (sigmas.diff() > 0).all() and sigmas.dtype == torch.float32
    assert torch.equal(predicts.timestep(sigmas), timesteps.float())
    between = (sigmas[:-1].log() * 0.8 + sigmas[1:].log() * 0.2).exp()
    assert torch.equal(predicts.timestep(between), timesteps[:-1].float())


@pytest.mark.parametrize("steps", [1, 5, 7, 30, 50, 61, 1000])
@pytest.mark.parametrize("config", [DDIM, DPM])
def test_the_steps_are_the_schedulers(config, steps):
    import diffusers

    schedule = make_schedule(config, steps=steps, kind="v")
    own = getattr(diffusers, config["_class_name"]).from_config(config)
    own.set_timesteps(steps)
    assert type(schedule.scheduler).__name__ == config["_class_name"]
    # diffusers' rounding gives some counts (61) a step too many, at timestep -1, which is none.
    assert schedule.timesteps.tolist() == own.timesteps[:steps].tolist() and schedule.timesteps[0] == 999
    assert schedule.sigmas[-1] == 0 and (schedule.sigmas.diff() < 0).all() and len(schedule.sigmas) == steps + 1
    assert torch.equal(schedule.prediction.timestep(schedule.sigmas[:-1]), schedule.timesteps)


@pytest.mark.parametrize(
    ("solver", "name"),
    [
        ("reference", "CogVideoXDPMScheduler"),
        ("euler", "DDIMScheduler"),
        ("unipc", "UniPCMultistepScheduler"),
        ("dpm++ 2m", "DPMSolverMultistepScheduler"),
    ],
)
def test_each_solver_walks_the_same_table(solver, name):
    schedule = make_schedule(DPM, solver, steps=10, kind="v")
    assert type(schedule.scheduler).__name__ == name
    scheduler = getattr(schedule.scheduler, "inner", schedule.scheduler)
    assert scheduler.config.prediction_type == "v_prediction"
    reached = scheduler.alphas_cumprod[:-1].double() / alphas_of(DPM)[:-1] - 1
    assert reached.abs().max() < 0.01  # the others rebuild the table in float32
    assert schedule.timesteps.tolist() == make_schedule(DPM, steps=10, kind="v").timesteps.tolist()


@pytest.mark.parametrize(("steps", "denoise", "first"), [(10, 0.5, 499), (5, 0.25, 249), (4, 0.4, 399)])
@pytest.mark.parametrize("solver", ["reference", "euler", "unipc", "dpm++ 2m"])
def test_a_part_of_the_run_begins_at_its_noise_level(solver, steps, denoise, first):
    schedule = make_schedule(DPM, solver, steps=steps, denoise=denoise, kind="v")
    assert schedule.steps == steps and schedule.timesteps[0] == first and not schedule.starts_from_noise
    assert schedule.sigmas[0] == schedule.prediction.sigma(torch.tensor(first))


WIDTH = 1.5


def expected_data(x, sigma, step=0):
    """What is known of data that is Gaussian with `WIDTH`, noised as x = data + sigma noise."""
    return x * WIDTH**2 / (WIDTH**2 + sigma.view(-1, 1, 1, 1, 1) ** 2)


@pytest.mark.parametrize("config", [DDIM, DPM], ids=["shifted", "plain"])
@pytest.mark.parametrize(("solver", "near"), [("euler", 0.06), ("unipc", 0.03), ("dpm++ 2m", 0.03)])
def test_solvers_near_the_exact_answer(config, solver, near):
    """Of such data the exact path from noise x ends at x times its width."""
    x = torch.randn(1, 2, 3, 8, 8)
    errors = []
    for steps in (20, 100):
        end = solve(expected_data, x, make_schedule(config, solver, steps=steps, kind="v"))
        errors.append(((end - x * WIDTH).norm() / (x * WIDTH).norm()).item())
    assert errors[1] < errors[0] and errors[1] < near, errors


def test_the_reference_solver_adds_noise_and_keeps_the_datas_width():
    x = torch.randn(1, 16, 3, 8, 8)
    ends = [solve(expected_data, x, make_schedule(DPM, steps=100, kind="v", seed=seed)) for seed in (1, 1, 2)]
    assert torch.equal(ends[0], ends[1]) and not torch.allclose(ends[0], ends[2], atol=0.1)
    assert ends[0].std().item() == pytest.approx(WIDTH, rel=0.06)


def test_the_noise_of_the_steps_is_not_the_noise_of_the_start():
    for seed in (0, 7, 2**64 - 1):
        schedule = make_schedule(DPM, steps=2, kind="v", seed=seed)
        start = torch.randn(64, generator=torch.Generator().manual_seed(seed))
        assert not torch.isin(start, torch.randn(64, generator=schedule.generator)).any()


def test_both_parts_of_a_split_schedule_share_the_solvers_state():
    x, whole = torch.randn(1, 2, 3, 4, 4), make_schedule(DPM, steps=6, kind="v", seed=3)
    expected = solve(expected_data, x, whole)
    schedule = make_schedule(DPM, steps=6, kind="v", seed=3)
    count = schedule.steps_above(0.5)
    high, low = schedule.part(0, count), schedule.part(count, 6)
    assert (high.steps, low.steps) == (3, 3)
    assert torch.equal(solve(expected_data, solve(expected_data, x, high), low), expected)


def test_a_discrete_prediction_says_what_it_is():
    predicts = prediction("eps", PLAIN)
    assert isinstance(predicts, Discrete) and predicts.kind == "eps" and isinstance(prediction("flow", {}), Flow)


def test_a_table_is_not_shifted():
    with pytest.raises(SamplingError) as error:
        make_schedule(DPM, steps=5, shift=3.0, kind="v")
    assert str(error.value) == (
        "shift is 3; this model's noise levels are a fixed table, which nothing shifts. Set shift to 0."
    )
