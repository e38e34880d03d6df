"""Schedules, solvers and guidance: tensors in, tensors out; no model names."""

from __future__ import annotations

from .errors import SamplingError
from .guidance import rescaled
from .prediction import Discrete, Flow, Prediction, prediction
from .schedule import SOLVERS, Schedule, make_schedule, own_shift
from .solve import solve

__all__ = [
    "SOLVERS",
    "Discrete",
    "Flow",
    "Prediction",
    "SamplingError",
    "Schedule",
    "make_schedule",
    "own_shift",
    "prediction",
    "rescaled",
    "solve",
]
