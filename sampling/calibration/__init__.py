"""Calibration: what a run with every step computed shows of a model, kept as a profile that later runs plan by."""

from __future__ import annotations

from .curve import Curve
from .profile import MadeFor, Profile
from .record import Observation, Recorder
from .recorded import LAGS, Recorded

__all__ = ["LAGS", "Curve", "MadeFor", "Observation", "Profile", "Recorded", "Recorder"]
