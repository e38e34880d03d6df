"""The loop against an exact answer, and how it stops.

For data that is Gaussian with width s, noised as x = (1 - sigma) data + sigma noise, everything is known:
    expected data   E[data | x] = (1 - sigma) s^2 x / ((1 - sigma)^2 s^2 + sigma^2)
    exact solution  x keeps its share of the width: x(0) = x(sigma) * s / sqrt((1 - sigma)^2 s^2 + sigma^2)
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from opent2v.sampling import SamplingError, make_schedule, solve

UNIPC = {"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": True}
WIDTH = 2.0


def variance(sigma):
    return (1 - sigma) ** 2 * WIDTH**2 + sigma**2


def expected_data(x, sigma, step=0):
    sigma = sigma.view(-1, 1, 1, 1, 1)
    return x * (1 - sigma) * WIDTH**2 / variance(sigma)


def error(solver: str, steps: int, denoise: float = 1.0) -> float:
    """Largest relative error at the run's end."""
    schedule = make_schedule(UNIPC, solver, steps=steps, denoise=denoise)
    # Whole-number timesteps, as some schedulers tell them to the model, would set a floor of 1e-3 to the error.
    schedule = replace(schedule, timesteps=schedule.sigmas[:-1].double() * 1000)
    x = torch.randn(1, 2, 3, 4, 5, dtype=torch.float64)
    exact = x * WIDTH / math.sqrt(variance(schedule.sigmas[0].item()))
    return ((solve(expected_data, x, schedule) - exact).abs() / exact.abs()).max().item()


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("unipc", 2), ("dpm++ 2m", 2)])
@pytest.mark.parametrize("denoise", [1.0, 0.5])
def test_the_error_falls_at_the_solvers_order(solver, order, denoise):
    errors = [error(solver, round(total * denoise), denoise) for total in (40, 80, 160)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(order - 0.35 < found < order + 0.65 for found in orders), (errors, orders)
    assert errors[-1] < 0.01


@pytest.mark.parametrize("solver", ["reference", "euler", "unipc", "dpm++ 2m"])
def test_with_the_schedulers_own_timesteps_the_answer_is_near(solver):
    schedule = make_schedule(UNIPC, solver, steps=40, shift=3.0)
    x = torch.randn(1, 2, 3, 4, 5)
    assert torch.allclose(solve(expected_data, x, schedule), x * WIDTH, rtol=0.1)


def test_the_denoiser_gets_the_references_timestep_per_batch_entry():
    schedule = make_schedule(UNIPC, steps=4, shift=3.0)
    seen = []

    def denoise(x, sigma, step=0):
        seen.append(sigma)
        return x * 0

    solve(denoise, torch.randn(2, 1, 1, 1, 1), schedule)
    assert [s.shape for s in seen] == [(2,)] * 4
    assert torch.stack(seen)[:, 0].mul(1000).tolist() == pytest.approx([999, 899, 749, 500], abs=1.01)
    assert torch.allclose(torch.stack(seen)[:, 0] * 1000, schedule.timesteps)


def test_on_step_comes_after_each_step_in_order():
    schedule = make_schedule(UNIPC, "euler", steps=3)
    calls = []

    def denoise(x, sigma, step=0):
        calls.append("denoise")
        return torch.ones_like(x)

    def on_step(step, clean, x):
        calls.append((step, clean.mean().item(), x.mean().item()))

    end = solve(denoise, torch.zeros(1, 1, 1, 1, 1), schedule, on_step=on_step)
    assert calls[0::2] == ["denoise"] * 3
    assert [c[:2] for c in calls[1::2]] == [(0, 1.0), (1, 1.0), (2, 1.0)]
    assert calls[-1][2] == end.item() == pytest.approx(1.0)


def test_what_on_step_raises_passes_through():
    class Stop(Exception):
        pass

    def on_step(step, clean, x):
        if step == 1:
            raise Stop("enough")

    with pytest.raises(Stop, match="enough"):
        solve(lambda x, sigma, step: x, torch.randn(1, 1, 1, 1, 1), make_schedule(UNIPC, steps=4), on_step=on_step)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_stops_the_run_at_its_step(bad):
    calls = []

    def denoise(x, sigma, step=0):
        calls.append(1)
        clean = x * 0.5
        if len(calls) == 2:
            clean[..., 0] = bad
        return clean

    with pytest.raises(SamplingError) as error:
        solve(denoise, torch.randn(1, 1, 1, 2, 4), make_schedule(UNIPC, steps=5))
    assert len(calls) == 2
    assert str(error.value) == (
        "Step 2 of 5: 25% of the latent is not a number or infinite, so the video would be black or noise. Likely "
        "causes: the model computes in fp16 and overflows (load it with dtype bf16 or fp32), a damaged model file or "
        "LoRA, or a cfg far above the model's own. Nothing was saved."
    )


def test_a_latent_that_is_no_number_from_the_start():
    with pytest.raises(SamplingError, match=r"^Step 1 of 2: 100% of the latent"):
        solve(lambda x, sigma, step: x, torch.full((1, 1, 1, 1, 1), math.nan), make_schedule(UNIPC, steps=2))


def test_a_solver_that_overflows_in_the_last_step_is_named_with_that_step(monkeypatch):
    schedule = make_schedule(UNIPC, steps=3)
    monkeypatch.setattr(type(schedule), "advance", lambda self, output, step, x: x * (math.inf if step == 2 else 1))
    with pytest.raises(SamplingError, match=r"^Step 3 of 3: 100% of the latent is not a number or infinite"):
        solve(lambda x, sigma, step: x * 0.5, torch.ones(1, 1, 1, 1, 1), schedule)


def test_no_gradients_are_kept():
    weight = torch.ones(1, requires_grad=True)
    assert not solve(
        lambda x, s, step: x * weight * 0, torch.randn(1, 1, 1, 1, 1), make_schedule(UNIPC, steps=2)
    ).requires_grad
