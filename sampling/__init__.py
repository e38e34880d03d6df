"""Schedules, solvers and guidance: tensors in, tensors out; no branch on a model's name."""

from __future__ import annotations

from .describe import describe
from .errors import SamplingError
from .guidance import STG_SCHEDULES, Guidance, cfg_schedules
from .plan import plan_run
from .prediction import Discrete, Flow, Prediction, prediction
from .run import ExpertSteps, Run, SamplerRequest, Step, make_run, steps_of
from .schedule import SOLVERS, Schedule, make_schedule, own_shift, scheduler_class
from .solve import solve

__all__ = [
    "SOLVERS",
    "STG_SCHEDULES",
    "Discrete",
    "ExpertSteps",
    "Flow",
    "Guidance",
    "Prediction",
    "Run",
    "SamplerRequest",
    "SamplingError",
    "Schedule",
    "Step",
    "cfg_schedules",
    "describe",
    "make_run",
    "make_schedule",
    "own_shift",
    "plan_run",
    "prediction",
    "scheduler_class",
    "solve",
    "steps_of",
]
