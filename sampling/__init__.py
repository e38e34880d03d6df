"""Schedules, solvers and guidance: tensors in, tensors out; no model names."""

from __future__ import annotations

from .errors import SamplingError
from .schedule import SOLVERS, Schedule, make_schedule, own_shift
from .solve import solve

__all__ = ["SOLVERS", "SamplingError", "Schedule", "make_schedule", "own_shift", "solve"]
