"""Schedules: how many steps, where they start, that they end at zero, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from opent2v.sampling import SOLVERS, SamplingError, make_schedule, own_shift

UNIPC = {
    "_class_name": "UniPCMultistepScheduler", "_diffusers_version": "0.35.0", "prediction_type": "flow_prediction",
    "use_flow_sigmas": True, "flow_shift": 3.0, "num_train_timesteps": 1000,
}  # fmt: skip
EULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "num_train_timesteps": 1000}


@pytest.mark.parametrize(
    ("config", "shift"),
    [
        ({"flow_shift": 5.0}, 5.0),
        ({"shift": 12}, 12.0),
        ({"flow_shift": 3.0, "shift": 7.0}, 3.0),
        ({}, 1.0),
        ({"flow_shift": None}, 1.0),
    ],
)
def test_own_shift(config, shift):
    assert own_shift(config) == shift


@pytest.mark.parametrize("config", [UNIPC, EULER], ids=["unipc folder", "euler folder"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("steps", "denoise", "total"), [(20, 1.0, 20), (1, 1.0, 1), (20, 0.5, 40), (3, 0.4, 8), (5, 0.99, 5)]
)
def test_steps_begin_and_end(config, solver, steps, denoise, total):
    schedule = make_schedule(config, solver, steps=steps, denoise=denoise)
    assert schedule.steps == len(schedule.timesteps) == len(schedule.sigmas) - 1 == steps
    assert schedule.sigmas[-1] == 0 and (schedule.sigmas.diff() < 0).all()
    assert schedule.scheduler.begin_index == total - steps
    assert len(schedule.scheduler.timesteps) == total
    assert (schedule.timesteps / 1000 - schedule.sigmas[:-1]).abs().max() <= 1e-3 + 1e-6  # some round to whole numbers
    assert schedule.starts_from_noise == (total == steps)
    assert schedule.sigmas[0] > 0.99 if total == steps else schedule.sigmas[0] < 0.99


@pytest.mark.parametrize(
    ("solver", "name"),
    [
        ("reference", "FlowMatchEulerDiscreteScheduler"),
        ("euler", "FlowMatchEulerDiscreteScheduler"),
        ("unipc", "UniPCMultistepScheduler"),
        ("dpm++ 2m", "DPMSolverMultistepScheduler"),
    ],
)
def test_each_solver_is_its_scheduler(solver, name):
    schedule = make_schedule(EULER, solver, steps=4)
    config = schedule.scheduler.config
    assert type(schedule.scheduler).__name__ == name
    assert config.get("flow_shift", config.get("shift")) == 3.0
    if "Multistep" in name:
        assert (config.prediction_type, config.use_flow_sigmas, config.solver_order) == ("flow_prediction", True, 2)


@pytest.mark.parametrize("solver", ["reference", "unipc", "dpm++ 2m"])
@pytest.mark.parametrize("shift", [None, 1.0, 8.0])
def test_the_shift_bends_the_schedule(solver, shift):
    schedule = make_schedule(UNIPC, solver, steps=10, shift=shift)
    used = 3.0 if shift is None else shift
    even = np.linspace(1, 1 / 1000, 11)[:-1]
    expected = torch.tensor(used * even / (1 + (used - 1) * even), dtype=torch.float32)
    # dpm++ 2m counts down from 999 of 1000 where UniPC starts at 1
    assert (schedule.sigmas[:-1] - expected).abs().max() < 4e-3
    assert schedule.starts_from_noise


def test_a_small_shift_still_starts_from_noise():
    schedule = make_schedule(UNIPC, "dpm++ 2m", steps=10, shift=0.05)
    assert schedule.sigmas[0] < 0.999 and schedule.starts_from_noise


def test_the_folders_other_settings_hold():
    assert (
        make_schedule(UNIPC | {"solver_order": 3, "solver_type": "bh1"}, steps=4).scheduler.config.solver_type == "bh1"
    )
    assert make_schedule(UNIPC | {"solver_order": 3}, steps=4).scheduler.config.solver_order == 3
    assert make_schedule(UNIPC | {"solver_order": 3}, "unipc", steps=4).scheduler.config.solver_order == 2


def test_every_schedule_is_fresh():
    first, second = (make_schedule(UNIPC, steps=4) for _ in range(2))
    assert first.scheduler is not second.scheduler


@pytest.mark.parametrize(
    ("solver", "settings", "said"),
    [
        ("heun", {}, "No solver is called 'heun'. Choose one of: reference, euler, unipc, dpm++ 2m."),
        ("unipc", {"steps": 0}, "steps is 0; at least 1 is needed (0 in the node means the model's own)."),
        ("unipc", {"steps": -3}, "steps is -3; at least 1 is needed (0 in the node means the model's own)."),
        ("unipc", {"denoise": 0.0}, "denoise is 0.0; expected above 0, up to 1 (1 makes a new video)."),
        ("unipc", {"denoise": 1.5}, "denoise is 1.5; expected above 0, up to 1 (1 makes a new video)."),
        ("unipc", {"denoise": float("nan")}, "denoise is nan; expected above 0, up to 1 (1 makes a new video)."),
        ("unipc", {"shift": -1.0}, "shift is -1.0; expected a number above 0 (0 in the node means the model's own)."),
        (
            "unipc",
            {"shift": float("inf")},
            "shift is inf; expected a number above 0 (0 in the node means the model's own).",
        ),
        ("unipc", {"steps": 1001}, "1001 steps are asked for; this model's schedule has 1000. Use fewer steps."),
        (
            "unipc",
            {"steps": 20, "denoise": 0.01},
            "2000 steps are asked for (the last 20 of them run at denoise 0.01); this model's schedule has 1000. "
            "Use fewer steps or a higher denoise.",
        ),
    ],
)
def test_what_is_refused(solver, settings, said):
    with pytest.raises(SamplingError) as error:
        make_schedule(UNIPC, solver, **{"steps": 10, **settings})
    assert str(error.value) == said


def test_stochastic_steps_draw_new_noise_from_the_seed():
    """A level down: the clean latent, with noise of the next level from the run's own generator."""
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "stochastic_sampling": True}
    levels = lambda steps: [1.0, 0.75, 0.5, 0.25][:steps]  # noqa: E731
    x, output = torch.randn(2, 1, 4, 2, 3, 3).unbind(0)
    moved = []
    for seed in (3, 3, 4):
        schedule = make_schedule(config, steps=4, sigmas=levels, seed=seed)
        state = schedule.generator.get_state()
        moved.append([schedule.advance(output, step, x) for step in (0, 1, 3)])
    generator = torch.Generator().set_state(state)
    noise = [torch.randn(x.shape, generator=generator) for _ in range(2)]
    assert torch.equal(moved[0][1], moved[1][1]) and not torch.allclose(moved[0][1], moved[2][1])
    assert torch.allclose(moved[2][0], 0.25 * (x - output) + 0.75 * noise[0], atol=1e-6)
    assert torch.allclose(moved[2][1], 0.5 * (x - 0.75 * output) + 0.5 * noise[1], atol=1e-6)
    assert torch.allclose(moved[2][2], x - 0.25 * output, atol=1e-6)  # the last step ends without noise
