"""Small models with random weights in every layout, for tests to load: one module for each family."""

from __future__ import annotations

import atexit
import inspect
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any


def shared_folder(make: Callable[..., Any]) -> Callable[..., Path]:
    """`folder(...)` for a `make(path, ...)`: what that writes, once for all tests. Read it, never change it.

    The folder is named after the module, and after what is asked for where that is a name.
    """
    signature = inspect.signature(make)
    family = make.__module__.rpartition(".")[2]

    @cache
    def make_once(*arguments: Any) -> Path:
        parent = Path(tempfile.mkdtemp(prefix="opent2v-tests-"))
        atexit.register(shutil.rmtree, parent, ignore_errors=True)
        path = parent / "-".join(["tiny", family, *(name for name in arguments if isinstance(name, str))])
        make(path, *arguments)
        return path

    def folder(*args: Any, **kwargs: Any) -> Path:
        bound = signature.bind(None, *args, **kwargs)
        bound.apply_defaults()
        return make_once(*bound.args[1:])

    return folder
