"""Schedules and solvers, both from diffusers' schedulers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import SamplingError

# Solver as nodes show it -> scheduler class and the settings that make it solve a flow model.
_FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
SOLVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "reference": ("", {}),
    "euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {**_FLOW, "solver_order": 2}),
    "dpm++ 2m": ("DPMSolverMultistepScheduler", {**_FLOW, "solver_order": 2, "algorithm_type": "dpmsolver++"}),
}


@dataclass(frozen=True)
class Schedule:
    """One run's steps, with the diffusers scheduler that makes them.

    Attributes:
        scheduler: fresh and set to its first step; it carries the solver's state, so it serves one run.
        sigmas: [steps + 1], falling to 0; share of noise, no unit.
        timesteps: [steps] in 0..1000: what the reference pipeline tells the model at each step.
    """

    scheduler: Any
    sigmas: Tensor
    timesteps: Tensor

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    @property
    def starts_from_noise(self) -> bool:
        """Whether the whole schedule is walked: reference pipelines start from unscaled noise then."""
        return self.steps == len(self.scheduler.timesteps)


def own_shift(config: Mapping[str, Any]) -> float:
    """The shift a scheduler config states; 1 where it states none."""
    return float(config.get("flow_shift", config.get("shift", 1.0)) or 1.0)


def make_schedule(
    config: Mapping[str, Any],
    solver: str = "reference",
    *,
    steps: int,
    shift: float | None = None,
    denoise: float = 1.0,
) -> Schedule:
    """The schedule of one run.

    Args:
        config: the model folder's scheduler config, with `_class_name`.
        solver: "reference" is the scheduler the folder names; else one of `SOLVERS`.
        shift: None keeps the folder's own; larger spends more steps at high noise.
        denoise: 1 starts from pure noise; below, the run is the last `steps` of steps / denoise steps.
    Raises:
        SamplingError: values out of range, or a solver nobody knows.
    """
    if solver not in SOLVERS:
        raise SamplingError(f"No solver is called {solver!r}. Choose one of: {', '.join(SOLVERS)}.")
    if steps < 1:
        raise SamplingError(f"steps is {steps}; at least 1 is needed (0 in the node means the model's own).")
    if not 0 < denoise <= 1:
        raise SamplingError(f"denoise is {denoise}; expected above 0, up to 1 (1 makes a new video).")
    shift = own_shift(config) if shift is None else shift
    if not (math.isfinite(shift) and shift > 0):
        raise SamplingError(f"shift is {shift}; expected a number above 0 (0 in the node means the model's own).")
    total = max(steps, round(steps / denoise))
    train_steps = int(config.get("num_train_timesteps", 1000))
    if total > train_steps:
        part = "" if total == steps else f" (the last {steps} of them run at denoise {denoise:g})"
        advice = "Use fewer steps." if total == steps else "Use fewer steps or a higher denoise."
        raise SamplingError(f"{total} steps are asked for{part}; this model's schedule has {train_steps}. {advice}")
    scheduler = _scheduler(config, solver, shift)
    scheduler.set_timesteps(total)
    begin = total - steps
    scheduler.set_begin_index(begin)
    sigmas = torch.as_tensor(scheduler.sigmas, dtype=torch.float32)[begin : total + 1]
    timesteps = torch.as_tensor(scheduler.timesteps, dtype=torch.float32)[begin:total]
    return Schedule(scheduler, sigmas, timesteps)


def _scheduler(config: Mapping[str, Any], solver: str, shift: float) -> Any:
    # Imported here: diffusers is heavy and only needed once a run starts.
    import diffusers

    class_name, settings = SOLVERS[solver]
    class_name = class_name or config["_class_name"]
    named = dict(config) if class_name == config["_class_name"] else {}
    named.update(settings)
    named["shift" if class_name == "FlowMatchEulerDiscreteScheduler" else "flow_shift"] = shift
    named = {k: v for k, v in named.items() if not k.startswith("_")}
    return getattr(diffusers, class_name).from_config(named)
