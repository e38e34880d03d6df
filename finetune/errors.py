"""Errors of training, and the libraries that only training needs."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType


class TrainingError(ValueError):
    """The data, a setting or a checkpoint cannot be used: the message says what was found and what to do."""


class MissingTrainer(ImportError):
    """peft or accelerate is missing."""


def trainer_library(name: str) -> ModuleType:
    """Import "peft", "accelerate" or "bitsandbytes".

    Raises:
        MissingTrainer: with the command that installs it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        packages = name if name == "bitsandbytes" else "peft accelerate"
        raise MissingTrainer(
            f"Training a LoRA needs {name}, which cannot be imported ({error}). Install it and restart: "
            f'"{sys.executable}" -m pip install {packages}'
        ) from error
