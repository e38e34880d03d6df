"""A replica of the service that makes videos: one host with its models loaded, one run at a time."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


class Worker:
    """Makes videos. Its class is sent to Ray's workers by value: at this level it needs the standard library only."""

    def __init__(self, root: str, text: str, output: str, models: str, inputs: str, comfyui: str, prompts: str) -> None:
        sys.path.insert(0, os.path.join(root, "scripts"))
        import batch_session
        import service_jobs

        self._is_wanted = service_jobs.is_wanted
        self._text, self._output, self._tell = text, Path(output), lambda event: None
        host = batch_session.Host.of_texts(models, inputs, comfyui, prompts)
        # One thread for all runs: torch's inference mode and ComfyUI's executor belong to a thread.
        self._thread = ThreadPoolExecutor(1)
        self._session = self._thread.submit(
            batch_session.open_session, host, self._output, _Stages(lambda: self._tell)
        ).result()

    async def render(self, keys: list[str], changes: list[list[str]]) -> AsyncIterator[dict[str, Any]]:
        """Make videos in one run: tells {"stage", "value", "total"} while it runs.

        At the end {"results", "loads", "worker"}: of each video {"files", "remarks"} or {"error"}, how many times this
        replica has loaded weights, and its process. A caller that cancels stops the run at its next step; the replica
        is free when that has ended.
        """
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Any]()
        self._tell = lambda event: loop.call_soon_threadsafe(events.put_nowait, event)
        running = loop.run_in_executor(self._thread, self._run, keys, changes)
        running.add_done_callback(lambda _: events.put_nowait(None))
        try:
            yield {"stage": "start", "value": 0, "total": 0}
            while (event := await events.get()) is not None:
                yield event
            yield {"results": await running, "loads": self._session.loads, "worker": os.getpid()}
        finally:
            while not running.done():
                self._session.interrupt()
                await asyncio.wait([running], timeout=0.5)

    def _run(self, keys: list[str], changes: list[list[str]]) -> list[dict[str, Any]]:
        folders = [self._output / key for key in keys]
        try:
            outcomes = self._session.run_together(
                self._text, changes, folders, is_wanted=lambda number: self._is_wanted(folders[number])
            )
        except Exception as error:
            outcomes = [error] * len(keys)
        return [_result(*each) for each in zip(outcomes, folders, strict=True)]


def _result(outcome: Any, folder: Path) -> dict[str, Any]:
    if outcome is None:
        return {"error": "nobody waited for it any more"}
    if isinstance(outcome, Exception):
        return {"error": str(outcome) or type(outcome).__name__}
    return {"files": [path.relative_to(folder).as_posix() for path in outcome.files], "remarks": outcome.remarks}


class _Stages:
    """Takes the place of `console.Stages`: each change is an event."""

    def __init__(self, teller: Any) -> None:
        self._teller, self._stage = teller, ""

    def start(self, name: str) -> None:
        self._stage = name
        self._teller()({"stage": name, "value": 0, "total": 0})

    def update(self, value: int, total: int) -> None:
        self._teller()({"stage": self._stage, "value": value, "total": total})

    def end(self, seconds: float) -> None:
        """The next stage's start says it."""
