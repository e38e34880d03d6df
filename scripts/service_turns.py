"""Which videos are made next, and what becomes of them while a worker makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError
from service_jobs import CANCELLED, DONE, FAILED, RUNNING, WAITING, Video, Videos
from service_metrics import Metrics

# Tries of a video whose worker dies, the first included.
TRIES = 3
# How Ray tells that a worker's process is gone; what a run itself raises comes as an event.
DEATHS = (RayActorError, WorkerCrashedError, NodeDiedError, OutOfMemoryError)


class Turns:
    """First come, first served: the oldest video runs next, and takes along up to `most` - 1 that wait behind it and
    differ in texts and seed only. A video whose worker has died is tried again, first and by itself.

    Args:
        run: makes videos in one run of one worker.
        workers: how many runs there may be at once.
    """

    def __init__(self, run: Callable[[list[Video]], Awaitable[None]], workers: int, most: int) -> None:
        self._run, self._free, self._most = run, workers, most
        self._waiting: list[Video] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, video: Video) -> None:
        """Let a video wait behind all others."""
        self._waiting.append(video)
        self._start()

    def add_first(self, videos: Iterable[Video]) -> None:
        """Let videos wait before all others."""
        self._waiting = [*videos, *self._waiting]
        self._start()

    def drop(self, video: Video) -> None:
        """Take a video out that waits."""
        self._waiting = [waiting for waiting in self._waiting if waiting is not video]

    def _start(self) -> None:
        while self._free and self._waiting:
            oldest = self._waiting[0]
            fits = [video for video in self._waiting if video is oldest or _fit(oldest, video)][: self._most]
            self._waiting = [video for video in self._waiting if video not in fits]
            self._free -= 1
            task = asyncio.create_task(self._made(fits))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _made(self, videos: list[Video]) -> None:
        try:
            await self._run(videos)
        finally:
            self._free += 1
            self._start()


def _fit(oldest: Video, video: Video) -> bool:
    return video.alike == oldest.alike and not (oldest.tries or video.tries)


class Making:
    """Has the workers make videos.

    Args:
        worker: Ray Serve's handle of the workers.
        workers, most: as of `Turns`.
    """

    def __init__(self, worker: Any, videos: Videos, metrics: Metrics, workers: int, most: int) -> None:
        self._worker, self._videos, self._metrics = worker, videos, metrics
        self._turns = Turns(self._make, workers, most)
        self._runs: dict[str, tuple[list[Video], Any]] = {}  # id of a video -> the videos of its run, the run's task

    def add(self, video: Video) -> None:
        """Make a video when its turn comes."""
        self._turns.add(video)

    def cancel(self, video: Video) -> None:
        """Make it no more. A run goes on for its other videos, and stops where there are none."""
        self._end(video, CANCELLED)
        self._turns.drop(video)
        videos, run = self._runs.get(video.id, ((), None))
        if run is not None and not any(along.is_open for along in videos):
            run.cancel()

    def _end(self, video: Video, state: str, **changes: Any) -> None:
        if video.is_open:
            self._videos.end(video, state, **changes)
            self._metrics.ended.labels(state).inc()

    async def _make(self, videos: list[Video]) -> None:
        stream = self._worker.options(stream=True).render.remote(
            [video.id for video in videos], [video.changes for video in videos]
        )
        self._runs |= {video.id: (videos, asyncio.current_task()) for video in videos}
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._metrics.together.observe(len(videos))
        try:
            async for event in stream:
                if "results" in event:
                    self._take(videos, event)
                    continue
                for video in videos:
                    if video.state == WAITING:
                        video.state, began = RUNNING, loop.time()
                    video.stage, video.value, video.total = event["stage"], event["value"], event["total"]
        except asyncio.CancelledError:
            stream.cancel()
            if any(video.is_open for video in videos):
                raise
        except DEATHS:
            self._try_again([video for video in videos if video.is_open])
        except Exception as error:
            for video in videos:
                self._end(video, FAILED, error=f"the worker failed: {error}")
        finally:
            for video in videos:
                self._runs.pop(video.id, None)
            self._metrics.seconds.observe(loop.time() - began)

    def _take(self, videos: list[Video], event: dict[str, Any]) -> None:
        self._metrics.loads.labels(event["worker"]).set(event["loads"])
        for video, result in zip(videos, event["results"], strict=True):
            if "error" in result:
                self._end(video, FAILED, error=result["error"])
            else:
                self._end(video, DONE, files=result["files"], remarks=result["remarks"])

    def _try_again(self, videos: list[Video]) -> None:
        """Where one of several videos has killed the worker, nobody can say which."""
        for video in videos:
            video.tries += 1
            if video.tries >= TRIES:
                self._end(
                    video, FAILED, error=f"given up: its worker died {TRIES} times, as it does of too little memory"
                )
            else:
                video.state, video.stage, video.value, video.total = WAITING, "", 0, 0
        self._turns.add_first(video for video in videos if video.is_open)
