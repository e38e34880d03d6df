"""Folders of the embedded host, and its reports of progress to the caller."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tags import graph_tags

PACK = Path(__file__).resolve().parent.parent.parent


class Interrupted(RuntimeError):
    """The run was stopped from outside, through `interrupt`."""


@dataclass
class _Settings:
    models: Path | None = None
    output: Path = PACK / "output"
    input: Path = PACK / "input"
    prompts: Path = PACK / "output" / "prompt_cache"
    on_progress: Callable[[str, int, int], None] | None = None
    language: str = "en"
    node: str = ""
    stop: bool = False


_settings = _Settings()


def configure(
    models: Path | None = None,
    output: Path | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
    input: Path | None = None,
    prompts: Path | None = None,
) -> None:
    """Set the models folder (laid out like ComfyUI's; the bundled models stay), the output folder, the progress
    callback (node id, value, total), the input folder and the folder of encoded prompts."""
    _settings.models = models
    _settings.output = output or PACK / "output"
    _settings.input = input or PACK / "input"
    _settings.prompts = prompts or PACK / "output" / "prompt_cache"
    _settings.on_progress = on_progress
    _settings.stop = False


def save_into(folder: Path) -> None:
    """Set the output folder alone, between two nodes."""
    _settings.output = folder


def running(node: str) -> None:
    """Set the node that runs from now on; progress is reported for it."""
    _settings.node = node


def interrupt() -> None:
    """Ask the running node to stop; callable from another thread or a progress callback."""
    _settings.stop = True


def check_interrupt() -> None:
    """Raises Interrupted once if `interrupt` was called."""
    if _settings.stop:
        _settings.stop = False
        raise Interrupted("The run was interrupted.")


# ComfyUI's older names of two folders, which it still looks into.
_OLDER_NAMES = {"diffusion_models": "unet", "text_encoders": "clip"}


def model_roots(kind: str) -> list[Path]:
    roots = [PACK / "models" / kind]
    if _settings.models is not None:
        roots += [_settings.models / name for name in (kind, _OLDER_NAMES.get(kind)) if name]
    return roots


def output_folder() -> Path:
    return _settings.output


def file_folders() -> dict[str, Path]:
    return {"input": _settings.input, "output": _settings.output, "temp": _settings.output.parent / "temp"}


def profile_folder() -> Path:
    return _settings.output / "step_cache"


def prompt_folder() -> Path:
    return _settings.prompts


def language() -> str:
    return _settings.language


def speak(language: str) -> None:
    """Set the language of what nodes say."""
    _settings.language = language


def say(remarks: list[str], node: str | None) -> None:
    for remark in remarks:
        logging.info(remark)


def show(remarks: list[str], node: str | None) -> None:
    """Nobody looks on: what is to stay goes through `say`."""


def progress(total: int, node: str | None = None, name: str = "", is_bytes: bool = False) -> Callable[[int], None]:
    def report(value: int) -> None:
        check_interrupt()
        if _settings.on_progress:
            _settings.on_progress(node or _settings.node, value, total)

    return report


def node_outputs(class_name: str) -> tuple[str, ...]:
    """This host has no nodes."""
    return ()


def file_metadata(
    prompt: Any, extra_pnginfo: Any, node: str | None = None, info: Mapping[str, Any] | None = None
) -> dict[str, str]:
    return graph_tags(prompt, extra_pnginfo, node, info)
