"""Errors in a model's files or in a request."""

from __future__ import annotations


class FamilyError(ValueError):
    """A model folder or a request does not fit the family. The message says found, expected, what to do."""
