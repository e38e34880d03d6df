"""A replica of the service that makes videos: one host with its models loaded, one video at a time."""

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

        self._text, self._output, self._tell = text, Path(output), lambda event: None
        host = batch_session.Host.of_texts(models, inputs, comfyui, prompts)
        # One thread for all runs: torch's inference mode and ComfyUI's executor belong to a thread.
        self._thread = ThreadPoolExecutor(1)
        self._session = self._thread.submit(
            batch_session.open_session, host, self._output, _Stages(lambda: self._tell)
        ).result()

    async def render(self, key: str, changes: list[str]) -> AsyncIterator[dict[str, Any]]:
        """Make a video: tells {"stage", "value", "total"} while it runs, at the end {"files", "remarks"} or {"error"}.

        A caller that cancels stops the run at its next step; the replica is free when that has ended.
        """
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Any]()
        self._tell = lambda event: loop.call_soon_threadsafe(events.put_nowait, event)
        running = loop.run_in_executor(self._thread, self._run, key, changes)
        running.add_done_callback(lambda _: events.put_nowait(None))
        try:
            yield {"stage": "start", "value": 0, "total": 0}
            while (event := await events.get()) is not None:
                yield event
            yield await running
        finally:
            while not running.done():
                self._session.interrupt()
                await asyncio.wait([running], timeout=0.5)

    def loads(self) -> int:
        """How many times weights were loaded."""
        return self._session.loads

    def _run(self, key: str, changes: list[str]) -> dict[str, Any]:
        folder = self._output / key
        try:
            outcome = self._session.run(self._text, changes, folder)
        except Exception as error:
            return {"error": str(error) or type(error).__name__}
        files = [path.relative_to(folder).as_posix() for path in outcome.files]
        return {"files": files, "remarks": outcome.remarks}


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
