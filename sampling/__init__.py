"""Schedules, solvers and guidance: tensors in, tensors out; no model names."""

from __future__ import annotations

from .errors import SamplingError
from .guidance import GUIDANCE_SCHEDULES, Guidance, Steps, guidance_steps, rescaled, starred, with_stg
from .prediction import Discrete, Flow, Prediction, prediction
from .schedule import SOLVERS, Schedule, make_schedule, own_shift, scheduler_class
from .solve import solve

__all__ = [
    "GUIDANCE_SCHEDULES",
    "SOLVERS",
    "Discrete",
    "Flow",
    "Guidance",
    "Prediction",
    "SamplingError",
    "Schedule",
    "Steps",
    "guidance_steps",
    "make_schedule",
    "own_shift",
    "prediction",
    "rescaled",
    "scheduler_class",
    "solve",
    "starred",
    "with_stg",
]
