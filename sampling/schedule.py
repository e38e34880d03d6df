"""Schedules and solvers, both from diffusers' schedulers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..base.generators import Generators, normal, seeded
from ..base.scheduler import OwnScheduler
from ..families import families
from .errors import SamplingError
from .prediction import Discrete, Flow, Prediction, alphas_of, prediction

# Solver's name on nodes -> scheduler class and the settings with which it solves a flow model.
_FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
SOLVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "reference": ("", {}),
    "euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {**_FLOW, "solver_order": 2}),
    "dpm++ 2m": ("DPMSolverMultistepScheduler", {**_FLOW, "solver_order": 2, "algorithm_type": "dpmsolver++"}),
}
# Added to the run's seed for the noise within steps. With the plain seed, the first step would draw the same numbers as
# the start noise.
_STEP_SEED = 0x9E3779B97F4A7C15
# Solvers for models with a table of betas; DDIM without noise is Euler's method in sigma.
_TABLE = {"timestep_spacing": "trailing"}
_DISCRETE: dict[str, tuple[str, dict[str, Any]]] = {
    "reference": ("", {}),
    "euler": ("DDIMScheduler", {**_TABLE, "clip_sample": False, "set_alpha_to_one": True}),
    "unipc": ("UniPCMultistepScheduler", {**_TABLE, "solver_order": 2}),
    "dpm++ 2m": ("DPMSolverMultistepScheduler", {**_TABLE, "solver_order": 2, "algorithm_type": "dpmsolver++"}),
}


@dataclass(frozen=True)
class Schedule:
    """One run's steps, or one part of them, with the diffusers scheduler that makes them.

    Attributes:
        scheduler: fresh and set to its first step; it carries the solver's state, so it serves one run.
        prediction: what the model returns.
        sigmas: [steps + 1], falling, in the host's count; the last is 0 where the run ends.
        timesteps: [steps] in 0..1000, the model's timestep at each step, as in the reference pipeline.
        first: index of the first step in the scheduler's own list; 0 means a start from pure noise.
        generator: source of the noise that stochastic schedulers add; a list has one for each clip of the batch.
    """

    scheduler: Any
    prediction: Prediction
    sigmas: Tensor
    timesteps: Tensor
    first: int = 0
    generator: Generators = None

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    @property
    def starts_from_noise(self) -> bool:
        """Whether the run walks the whole schedule, in which case reference pipelines start from unscaled noise."""
        return self.first == 0

    def advance(self, output: Tensor, step: int, x: Tensor) -> Tensor:
        """One step of the solver on x [B, C, T, H, W] in the scheduler's own scale."""
        if isinstance(self.scheduler, OwnScheduler):
            return self.scheduler.step(output, self.first + step, x, self.generator)
        before, after = self._spread(step), self._spread(step + 1)
        # diffusers' schedulers expect latents of constant standard deviation
        if before is not None and after is not None:
            return self._moved(output, step, x / before) * after
        return self._moved(output, step, x)

    def _spread(self, step: int) -> Tensor | None:
        """Standard deviation of the model's input at a step, see `Discrete.spread`; 1 where no noise is left."""
        if not isinstance(self.prediction, Discrete):
            return None
        if self.sigmas[step] == 0:
            return self.timesteps.new_ones(())
        return self.prediction.spread(self.sigmas[step])

    def _moved(self, output: Tensor, step: int, x: Tensor) -> Tensor:
        t = self.scheduler.timesteps[self.first + step]
        if self.scheduler.config.get("stochastic_sampling"):
            # The scheduler's step, written out with noise from the run's seed, because older diffusers take no
            # generator for it.
            sigma, below = self.scheduler.sigmas[self.first + step : self.first + step + 2].to(x)
            noise = normal(x.shape, self.generator).to(x)
            return (1 - below) * (x - sigma * output) + below * noise
        return self.scheduler.step(output, t, x, return_dict=False)[0]

    def steps_above(self, boundary: float) -> int:
        """Number of steps at or above a share of noise (0..1)."""
        return int((self.timesteps >= boundary * 1000).sum())

    def part(self, start: int, stop: int) -> Schedule:
        """The steps from `start` to before `stop`; all parts share the solver's state."""
        sigmas, timesteps = self.sigmas[start : stop + 1], self.timesteps[start:stop]
        return replace(self, sigmas=sigmas, timesteps=timesteps, first=self.first + start)


def own_shift(config: Mapping[str, Any]) -> float:
    """The shift a scheduler config states; 1 where it states none."""
    return float(config.get("flow_shift", config.get("shift", 1.0)) or 1.0)


def scheduler_class(config: Mapping[str, Any], solver: str, kind: str) -> str:
    """Class name of a solver, for a model's scheduler config and prediction."""
    return (SOLVERS if kind == "flow" else _DISCRETE)[solver][0] or config["_class_name"]


def _whole_schedule(config: Mapping[str, Any], solver: str, steps: int, shift: float | None, denoise: float) -> int:
    """Number of steps of the whole schedule, whose last part a run walks; arguments and errors as `make_schedule`."""
    if solver not in SOLVERS:
        raise SamplingError(f"No solver is called {solver!r}. Choose one of: {', '.join(SOLVERS)}.")
    if steps < 1:
        raise SamplingError(f"steps is {steps}; at least 1 is needed (0 in the node means the model's own).")
    if not 0 < denoise <= 1:
        raise SamplingError(f"denoise is {denoise}; expected above 0, up to 1 (1 makes a new video).")
    if shift is not None and not (math.isfinite(shift) and shift > 0):
        raise SamplingError(f"shift is {shift}; expected a number above 0 (0 in the node means the model's own).")
    total = max(steps, round(steps / denoise))
    train_steps = int(config.get("num_train_timesteps", 1000))
    if total > train_steps:
        part = "" if total == steps else f" (the last {steps} of them run at denoise {denoise:g})"
        advice = "Use fewer steps." if total == steps else "Use fewer steps or a higher denoise."
        raise SamplingError(f"{total} steps are asked for{part}; this model's schedule has {train_steps}. {advice}")
    return total


def make_schedule(
    config: Mapping[str, Any],
    solver: str = "reference",
    *,
    steps: int,
    shift: float | None = None,
    denoise: float = 1.0,
    kind: str = "flow",
    sigmas: Callable[[int], Sequence[float] | None] | None = None,
    seed: int = 0,
    seeds: Sequence[int] = (),
    levels: Sequence[float] = (),
) -> Schedule:
    """The schedule of one run.

    Args:
        config: the model folder's scheduler config, with `_class_name`.
        solver: "reference" is the scheduler the folder names; else one of `SOLVERS`.
        shift: None keeps the folder's own; larger spends more steps at high noise.
        denoise: 1 starts from pure noise; below, the run is the last `steps` of steps / denoise steps.
        kind: what the model returns: "flow", "v" or "eps".
        sigmas: (steps of the whole schedule) -> the family's own noise levels for them, without the final 0, or None
            for those of the config.
        seed: of the noise that stochastic schedulers add.
        seeds: in its place, one for each clip of the batch.
        levels: the noise levels to walk in place of all others, falling, without the final 0, one for each step.
    Raises:
        SamplingError: values out of range, or a solver nobody knows.
    """
    predicts = prediction(kind, config)
    if levels:
        _check_levels(levels, predicts, shift, denoise)
        # A run that begins below pure noise is the last part of one that does not.
        levels = levels if levels[0] == 1 else [1.0, *levels]
    total = _whole_schedule(config, solver, len(levels) or steps, shift, denoise)
    final = levels or (sigmas(total) if sigmas else None)
    if isinstance(predicts, Discrete) and shift is not None:
        raise SamplingError(
            f"shift is {shift:g}; this model's noise levels are a fixed table, which nothing shifts. Set shift to 0."
        )
    scheduler = _discrete(config, solver, predicts) if isinstance(predicts, Discrete) else None
    scheduler = scheduler or _flow(config, solver, own_shift(config) if shift is None else shift, final is not None)
    scheduler.set_timesteps(total)
    if final is not None:
        scheduler.sigmas = torch.tensor([*final, 0.0], dtype=torch.float32)
        scheduler.timesteps = scheduler.sigmas[:-1] * 1000
    begin = total - steps
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    timesteps = torch.as_tensor(scheduler.timesteps, dtype=torch.float32)[begin:total]
    if isinstance(predicts, Flow):
        counted = torch.as_tensor(scheduler.sigmas, dtype=torch.float32)[begin : total + 1]
    else:
        counted = torch.cat([predicts.sigma(timesteps), torch.zeros(1)])
    generators = [seeded((number + _STEP_SEED) % 2**64) for number in seeds or [seed]]
    return Schedule(scheduler, predicts, counted, timesteps, begin, generators if seeds else generators[0])


def _check_levels(levels: Sequence[float], predicts: Prediction, shift: float | None, denoise: float) -> None:
    shown = ", ".join(f"{level:g}" for level in levels)
    if not isinstance(predicts, Flow):
        raise SamplingError(f"sigmas are {shown}; this model's noise levels are a fixed table. Leave sigmas empty.")
    if any(not 0 < level <= 1 for level in levels) or any(b >= a for a, b in pairwise(levels)):
        raise SamplingError(
            f"sigmas are {shown}; expected falling numbers above 0 up to 1 (a last 0 may stand behind them), such as "
            "0.85, 0.725, 0.421875."
        )
    if shift is not None or denoise != 1:
        raise SamplingError(
            f"sigmas are {shown}, and shift is {shift or 0:g} and denoise {denoise:g}; sigmas take the place of both. "
            "Set shift to 0 and denoise to 1, or leave sigmas empty."
        )


def read_sigmas(text: str) -> tuple[float, ...]:
    """The noise levels in a text with commas or spaces, without a last 0.

    Raises:
        SamplingError: something in it is no number.

    >>> read_sigmas("0.85, 0.725, 0.421875, 0.0")
    (0.85, 0.725, 0.421875)
    """
    words = text.replace(",", " ").split()
    try:
        levels = [float(word) for word in words]
    except ValueError:
        raise SamplingError(
            f"sigmas is {text!r}; expected numbers with commas, such as 0.85, 0.725, 0.421875."
        ) from None
    return tuple(levels[:-1] if levels and levels[-1] == 0 else levels)


def _flow(config: Mapping[str, Any], solver: str, shift: float, has_levels: bool) -> Any:
    class_name, settings = SOLVERS[solver]
    class_name = class_name or config["_class_name"]
    named = dict(config) if class_name == config["_class_name"] else {}
    named.update(settings)
    named["shift" if class_name == "FlowMatchEulerDiscreteScheduler" else "flow_shift"] = shift
    if has_levels:  # the levels are final: the scheduler must not bend them again
        named.update(use_dynamic_shifting=False, shift_terminal=None, invert_sigmas=False)
    return _scheduler(class_name, named, Flow())


def _discrete(config: Mapping[str, Any], solver: str, predicts: Discrete) -> Any:
    class_name, settings = _DISCRETE[solver]
    is_own = class_name == config["_class_name"] and predicts.signal is None  # not if the latents fade as well
    if not class_name or is_own:
        return _scheduler(config["_class_name"], {**config, **settings}, predicts)
    alphas = alphas_of(config) if predicts.signal is None else 1 / (1 + predicts.sigmas**2)
    betas = 1 - alphas / torch.cat([torch.ones(1, dtype=alphas.dtype), alphas[:-1]])
    output = {"v": "v_prediction", "eps": "epsilon"}[predicts.kind]
    return _scheduler(class_name, {**settings, "trained_betas": betas.tolist(), "prediction_type": output}, predicts)


def _scheduler(class_name: str, config: Mapping[str, Any], predicts: Prediction) -> Any:
    for family in families().values():
        if class_name in family.sampling.schedulers:
            return family.sampling.schedulers[class_name](config, predicts)
    # Imported here: diffusers is heavy and only needed once a run starts.
    import diffusers

    return getattr(diffusers, class_name).from_config({k: v for k, v in config.items() if not k.startswith("_")})
