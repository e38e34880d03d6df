"""Small models with random weights in every layout, for tests to load: one module for each family."""

from __future__ import annotations

import atexit
import inspect
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
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


def save_folder(
    path: Path, pipeline: str, parts: Mapping[str, Any], scheduler: Any, defaults: Mapping[str, Any], **index: Any
) -> None:
    """Write a diffusers folder, with the tokenizer of the tests' words for each text encoder.

    Args:
        pipeline: the class that model_index.json names.
        parts: the folder's name of each module -> module.
        defaults: opent2v.json.
        index: further entries of model_index.json.
    """
    from opent2v.training import captions

    index |= {"_class_name": pipeline, "scheduler": ["diffusers", type(scheduler).__name__]}
    tokenizer = captions.tokenizer()
    for name, part in parts.items():
        part.eval().save_pretrained(path / name)
        index[name] = [type(part).__module__.partition(".")[0], type(part).__name__]
        if name.startswith("text_encoder"):
            slot = name.replace("text_encoder", "tokenizer")
            tokenizer.save_pretrained(path / slot)
            index[slot] = ["transformers", "PreTrainedTokenizerFast"]
            config = path / slot / "tokenizer_config.json"
            named = json.loads(config.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
            config.write_text(json.dumps(named))
    scheduler.save_pretrained(path / "scheduler")
    (path / "model_index.json").write_text(json.dumps(index))
    (path / "opent2v.json").write_text(json.dumps(dict(defaults)))
