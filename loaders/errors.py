"""Errors in a model's files on disk."""

from __future__ import annotations


class ModelFileError(ValueError):
    """A model file or folder cannot be used. The message says found, expected, what to do."""
