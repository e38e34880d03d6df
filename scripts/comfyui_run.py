"""Runs a workflow in a real ComfyUI checkout, in this process and without its server."""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfyui_start
import console
import pack


class Session:
    """A ComfyUI in this process for workflows that run one after another; its own cache keeps models between them.

    Args:
        folder: for what is saved.
        keeps_prompts: whether encoded prompts are kept, in ComfyUI's user folder; False: as the workflow's nodes say.
    """

    def __init__(self, comfyui: Path, *, stages: console.Stages, folder: Path, keeps_prompts: bool = False) -> None:
        if threading.current_thread() is threading.main_thread():
            # With Python's own signal handler, asyncio would react to Ctrl-C only after the running node.
            signal.signal(signal.SIGINT, _interrupt)
        self._nodes, self._executor = _start(comfyui, folder)
        self._stages, self._keeps_prompts = stages, keeps_prompts
        self._last: tuple[str, Sequence[str]] = ("", ())
        self.classes, self.titles = self._nodes.NODE_CLASS_MAPPINGS, self._nodes.NODE_DISPLAY_NAME_MAPPINGS
        # The name under which ComfyUI imported this pack.
        self.room = self.classes["OpenT2VSaveVideo"].__module__.split(".")[0]

    @property
    def loads(self) -> int:
        """ComfyUI's cache does not count."""
        return 0

    def interrupt(self) -> None:
        """Stop the running workflow at its next step; callable from another thread."""
        self._nodes.interrupt_processing(True)

    def run_together(self, text: str, changes: Sequence[Sequence[str]], folders: Sequence[Path], **_: Any) -> list[Any]:
        """Run a workflow several times, each with its changes and saving into its folder: one after another here.

        Returns:
            Of each run a `headless.Outcome`, or what stopped it.
        """
        outcomes: list[Any] = []
        for each, folder in zip(changes, folders, strict=True):
            try:
                outcomes.append(self.run(text, each, folder))
            except Exception as error:
                outcomes.append(error)
        return outcomes

    def run(
        self,
        text: str,
        changes: Sequence[str],
        folder: Path,
        stage_of: Callable[[str, str], str | None] = lambda title, kind: title,
    ) -> Any:
        """Run a workflow as ComfyUI's server would, saving into `folder`: a `headless.Outcome`."""
        importlib.import_module("folder_paths").set_output_directory(str(folder))
        if (text, changes) == self._last:
            self._executor.reset()  # ComfyUI would take the last run's file for this run's
        self._last = (text, changes)
        headless = importlib.import_module(f"{self.room}.headless")
        graph = headless.load_changed(text, changes, self.classes, self.titles)
        if self._keeps_prompts:
            headless.keep_prompts(graph)
        importlib.import_module(f"{self.room}.headless.workflow").validate(graph, self.classes)
        names = {node_id: stage_of(node["title"], node["class_type"]) for node_id, node in graph.items()}
        stream = _Events(names, self._stages)
        self._executor.server.send_sync = stream.event
        importlib.import_module("comfy.utils").set_progress_bar_global_hook(stream.progress)
        ui = _execute(self._executor, graph)
        stream.finish()
        return headless.Outcome.of(graph, ui, folder)


def run(
    comfyui: Path,
    text: str,
    changes: Sequence[str],
    *,
    output: Path,
    stages: console.Stages,
    stage_of: Callable[[str, str], str | None],
) -> Any:
    """Run one workflow; arguments and result as of `embedded_run.run`."""
    return Session(comfyui, stages=stages, folder=output).run(text, changes, output, stage_of)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _start(comfyui: Path, output: Path) -> tuple[Any, Any]:
    """Start ComfyUI, load the pack, make an executor: (its module `nodes`, the executor)."""
    import torch

    has_device = (
        torch.cuda.is_available()
        or torch.backends.mps.is_available()
        or (hasattr(torch, "xpu") and torch.xpu.is_available())
    )
    nodes = comfyui_start.start(comfyui, *([] if has_device else ["--cpu"]))
    importlib.import_module("folder_paths").set_output_directory(str(output))
    execution = importlib.import_module("execution")
    asyncio.run(nodes.load_custom_node(str(pack.ROOT)))
    if "OpenT2VSaveVideo" not in nodes.NODE_CLASS_MAPPINGS:
        raise RuntimeError(f"ComfyUI could not load the pack from {pack.ROOT}; its log above says why")
    server = SimpleNamespace(
        client_id="opent2v",
        last_node_id=None,
        last_prompt_id=None,
        sockets_metadata={},
        queue_updated=lambda: None,
        send_sync=None,
    )
    cache = {"cache_type": execution.CacheType.CLASSIC, "cache_args": {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}}
    return nodes, execution.PromptExecutor(server, **cache)


def _execute(executor: Any, graph: Any) -> dict[str, dict[str, Any]]:
    """Validate and run with ComfyUI's own code; returns the "ui" part of each node that has one."""
    execution = importlib.import_module("execution")
    prompt, prompt_id = graph.prompt(), str(uuid.uuid4())
    ok = asyncio.run(execution.validate_prompt(prompt_id, prompt, None))
    if not ok[0]:
        raise ValueError(f"ComfyUI refuses the workflow: {ok[1]['message']} {ok[1]['details']} {ok[3] or ''}")
    extra = {"client_id": executor.server.client_id}
    if graph.workflow is not None:
        extra["extra_pnginfo"] = {"workflow": graph.workflow}
    logging.disable(logging.ERROR)  # ComfyUI logs a failing node's traceback; its message is raised below
    executor.execute(prompt, prompt_id, extra, ok[2])
    logging.disable(logging.NOTSET)
    if not executor.success:
        for event, details in executor.status_messages:
            if event == "execution_error":
                node = graph[details["node_id"]]
                where = f'node {details["node_id"]} "{node["title"]}" ({node["class_type"]})'
                raise RuntimeError(f"{where} failed: {details['exception_message'].strip()}")
        raise RuntimeError("ComfyUI stopped the workflow: it was interrupted")
    return executor.history_result["outputs"]


class _Events:
    """Turns the events that ComfyUI sends to its page into stages on the terminal."""

    def __init__(self, names: dict[str, str | None], stages: console.Stages) -> None:
        self.names, self.stages = names, stages
        self._started: float | None = None

    def event(self, event: str, data: Any, sid: str | None = None) -> None:
        if event == "executing":
            self.finish()
            name = self.names.get(data["node"])
            if name:
                self._started = time.perf_counter()
                self.stages.start(name)

    def finish(self) -> None:
        if self._started is not None:
            self.stages.end(time.perf_counter() - self._started)
            self._started = None

    def progress(self, value: int, total: int, preview: Any = None, **_: Any) -> None:
        if self._started is not None:
            self.stages.update(int(value), int(total))
