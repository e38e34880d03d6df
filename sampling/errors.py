"""Errors that stop a sampling run."""

from __future__ import annotations


class SamplingError(RuntimeError):
    """The run cannot start or go on. The message says found, expected, what to do."""
