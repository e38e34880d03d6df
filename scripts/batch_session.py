"""A host for one workflow after another: the embedded one, or a ComfyUI checkout."""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfyui_run
import console
import embedded_run


@dataclass(frozen=True)
class Host:
    """Where workflows run, and where their files are.

    Attributes:
        models: a folder laid out like ComfyUI's models/; of the embedded host.
        inputs: the folder with pictures, sounds and videos; None: the host's own.
        comfyui: a checkout; None: the embedded host.
    """

    models: Path | None = None
    inputs: Path | None = None
    comfyui: Path | None = None

    @classmethod
    def of_texts(cls, models: str, inputs: str, comfyui: str) -> Host:
        """Of plain data, as another process gets it; "" is None."""
        return cls(*(Path(folder) if folder else None for folder in (models, inputs, comfyui)))


def open_session(host: Host, output: Path, stages: Any = None) -> Any:
    """A session of `embedded_run` or `comfyui_run`.

    Args:
        stages: what is told of a run's stages, as `console.Stages`; None: nothing, where a job is one line.
    """
    stages = stages or console.Stages(io.StringIO())
    if host.comfyui is None:
        session = embedded_run.Session(models=host.models, inputs=host.inputs, stages=stages)
        session.configure(output)
        return session
    if host.models is not None:
        raise ValueError("--models is for the embedded host; a ComfyUI has its own folders (extra_model_paths.yaml)")
    session = comfyui_run.Session(host.comfyui, stages=stages, folder=output)
    if host.inputs is not None:
        importlib.import_module("folder_paths").set_input_directory(str(host.inputs))
    return session


def room(session: Any) -> Any:
    """The pack's `headless.batch`, under the name by which this session's host has the pack."""
    return importlib.import_module(f"{getattr(session, 'room', 'opent2v')}.headless.batch")


__all__ = ["Host", "open_session", "room"]
