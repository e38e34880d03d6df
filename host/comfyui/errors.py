"""Errors of our objects inside ComfyUI's own nodes, told in the page's language.

Errors of our nodes are translated where they leave the node (nodes/language.py). Where KSampler, VAEDecode or
CLIPTextEncode fail in our MODEL, VAE or CLIP, the error reaches the page through ComfyUI's executor; its log keeps the
English line.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...base.catalogue import translated
from .place import language

_PACK = str(Path(__file__).resolve().parents[2])
_HERE = str(Path(__file__).parents[2])  # as Python names it in tracebacks, by a link too


def tell_errors_in_the_pages_language() -> None:
    """Let ComfyUI's executor send our sentences to the page in its language, on any node."""
    # Absent where only parts of ComfyUI run, which have no page.
    executor = getattr(sys.modules.get("execution"), "PromptExecutor", None)
    plain = getattr(executor, "add_message", None)
    if plain is None or hasattr(plain, "__wrapped__"):
        return

    @functools.wraps(plain)
    def add_message(self: Any, event: str, data: Any, *args: Any, **kwargs: Any) -> Any:
        return plain(self, event, in_language(data) if event == "execution_error" else data, *args, **kwargs)

    setattr(executor, "add_message", add_message)  # noqa: B010 - the host's class, whose type is not known here


def in_language(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data of an error with its sentence in the page's language, where it was raised in the pack's code."""
    lines, message = data.get("traceback"), data.get("exception_message")
    if not isinstance(message, str) or not isinstance(lines, list):
        return data
    if not any(folder in str(line) for line in lines for folder in (_PACK, _HERE)):
        return data
    return {**data, "exception_message": translated(message, language())}
