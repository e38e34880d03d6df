"""Errors and reports of the nodes, in the language of the person at the page; remarks: remarks.py."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

from ..base.catalogue import translated
from ..host import InputRefused, host

# Outputs that are texts for people; others are names of files, prompts and the like.
TEXTS = {"report", "notes"}


def speak(node_class: type) -> None:
    """Let a node class give its reports and errors in the host's language.

    The log keeps an error's English line, by which it can be searched for.
    """
    name = getattr(node_class, "FUNCTION")  # noqa: B009 - a node's class, which has no common base
    setattr(node_class, name, _speaking(getattr(node_class, name), functools.partial(_result, node_class)))
    check = getattr(node_class, "VALIDATE_INPUTS", None)
    if check is not None:
        setattr(node_class, "VALIDATE_INPUTS", classmethod(_speaking(check.__func__, _verdict)))  # noqa: B010


def _speaking(function: Callable[..., Any], in_language: Callable[[Any, str], Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            _translate(error, host.language())
            raise
        return in_language(result, host.language())

    # ComfyUI asks which inputs a check takes, and does not look through wrappers.
    setattr(run, "__signature__", inspect.signature(function))  # noqa: B010
    return run


def _translate(error: Exception, language: str) -> None:
    english = str(error)
    if isinstance(error, InputRefused) and error.name:
        # The page finds the input by the name before the colon, and takes both away (web/errors.js).
        text = f"{error.name}: {translated(english.removeprefix(f'{error.name}: '), language)}"
    else:
        text = translated(english, language)
    if language == "en" or text == english or error.args[:1] != (english,):
        return
    logging.error(english)
    error.args = (text, *error.args[1:])


def _result(node_class: Any, result: Any, language: str) -> Any:
    """A node's result with its reports translated; its remarks are (nodes/remarks.py)."""
    outputs = result["result"] if isinstance(result, dict) else result
    names = getattr(node_class, "RETURN_NAMES", ())
    if language == "en" or not TEXTS.intersection(names):
        return result
    outputs = tuple(
        translated(output, language) if name in TEXTS and isinstance(output, str) else output
        for name, output in zip(names, outputs, strict=True)
    )
    return {**result, "result": outputs} if isinstance(result, dict) else outputs


def _verdict(verdict: Any, language: str) -> Any:
    return translated(verdict, language) if isinstance(verdict, str) else verdict
