"""Calibration: measurements of a run with every step computed, saved as a profile from which later runs plan."""

from __future__ import annotations

from .curve import Curve
from .profile import ModelSetup, Profile
from .record import Observation, Recorder
from .recorded import LAGS, Recorded

__all__ = ["LAGS", "Curve", "ModelSetup", "Observation", "Profile", "Recorded", "Recorder"]
