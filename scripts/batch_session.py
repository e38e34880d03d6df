"""A host for one workflow after another: the embedded one, or a ComfyUI checkout."""

from __future__ import annotations

import argparse
import importlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfyui_run
import console
import embedded_run
import pack


@dataclass(frozen=True)
class Host:
    """Where workflows run, and where their files are.

    Attributes:
        models: a folder laid out like ComfyUI's models/; of the embedded host.
        inputs: the folder with pictures, sounds and videos; None: the host's own.
        comfyui: a checkout; None: the embedded host.
        prompts: folder that encoded prompts are kept in; None: none are kept. A ComfyUI keeps them in its user folder.
    """

    models: Path | None = None
    inputs: Path | None = None
    comfyui: Path | None = None
    prompts: Path | None = None

    @classmethod
    def of_texts(cls, models: str, inputs: str, comfyui: str, prompts: str) -> Host:
        """Of plain data, as another process gets it; "" is None."""
        return cls(*(Path(folder) if folder else None for folder in (models, inputs, comfyui, prompts)))


def add_prompt_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prompt-cache",
        nargs="?",
        const="",
        metavar="DIR",
        help="keep encoded prompts, so that no text encoder is loaded for them again (default: output/prompt_cache in "
        "this pack; of a ComfyUI its user folder)",
    )


def add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch",
        type=int,
        default=1,
        metavar="N",
        help="clips of one size and settings that are sampled in one run, which takes their memory together "
        "(default: 1)",
    )


def prompt_folder(asked: str | None, comfyui: Path | None) -> Path | None:
    """The folder that the option --prompt-cache means.

    Raises:
        ValueError: a folder is named for a ComfyUI.
    """
    if asked and comfyui:
        raise ValueError("--prompt-cache takes no folder with --comfyui: a ComfyUI keeps prompts in its user folder")
    if asked is None:
        return None
    return Path(asked).expanduser().resolve() if asked else pack.ROOT / "output" / "prompt_cache"


def open_session(host: Host, output: Path, stages: Any = None) -> Any:
    """A session of `embedded_run` or `comfyui_run`.

    Args:
        stages: what is told of a run's stages, as `console.Stages`; None: nothing, where a job is one line.
    """
    stages = stages or console.Stages(io.StringIO())
    if host.comfyui is None:
        session = embedded_run.Session(models=host.models, inputs=host.inputs, stages=stages, prompts=host.prompts)
        session.configure(output)
        return session
    if host.models is not None:
        raise ValueError("--models is for the embedded host; a ComfyUI has its own folders (extra_model_paths.yaml)")
    session = comfyui_run.Session(host.comfyui, stages=stages, folder=output, keeps_prompts=host.prompts is not None)
    if host.inputs is not None:
        importlib.import_module("folder_paths").set_input_directory(str(host.inputs))
    return session


def room(session: Any) -> Any:
    """The pack's `headless.batch`, under the name by which this session's host has the pack."""
    return importlib.import_module(f"{getattr(session, 'room', 'opent2v')}.headless.batch")


__all__ = ["Host", "add_batch", "add_prompt_cache", "open_session", "prompt_folder", "room"]
