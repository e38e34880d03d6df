"""The videos that a service was asked for: their state, on disk as well, and how many may wait.

A video is a folder with `video.json` and its files. Whoever starts the service again sees what was finished; what was
waiting or running then is "cut".
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

WAITING, RUNNING, DONE, FAILED, CANCELLED, CUT = "waiting", "running", "done", "failed", "cancelled", "cut"
RECORD = "video.json"


class TooMany(RuntimeError):
    """No more videos may wait now; the message says which limit was met."""


@dataclass
class Video:
    """One request.

    Attributes:
        client: who asked, by address.
        inputs: what was asked for.
        stage, value, total: the node that runs, and how far it is; total 0 where it does not say.
        files: below the video's folder.
        created, ended: seconds since 1970; 0 while it runs.
        alike: equal for videos that differ in texts and seed only.
        tries: how often its worker has died.
    """

    id: str
    client: str
    inputs: dict[str, Any]
    changes: list[str]
    state: str = WAITING
    stage: str = ""
    value: int = 0
    total: int = 0
    files: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    error: str = ""
    created: float = field(default_factory=time.time)
    ended: float = 0.0
    alike: str = ""
    tries: int = 0

    @property
    def is_open(self) -> bool:
        return self.state in (WAITING, RUNNING)


class Videos:
    """All of them.

    Args:
        folder: where they are kept.
        most, most_of_client: how many may be waiting or running, in all and of one client.
    """

    def __init__(self, folder: Path, most: int, most_of_client: int) -> None:
        self.folder, self._most, self._most_of_client = folder, most, most_of_client
        folder.mkdir(parents=True, exist_ok=True)
        self._videos: dict[str, Video] = {}
        for path in sorted(folder.glob(f"*/{RECORD}"), key=lambda path: path.stat().st_mtime):
            video = _read(path)
            if video is None:
                continue
            if video.is_open:
                video.state, video.ended = CUT, time.time()
                video.error = "the service was stopped before this video was done; ask for it again"
                self.save(video)
            self._videos[video.id] = video

    def __getitem__(self, key: str) -> Video:
        return self._videos[key]

    def __contains__(self, key: str) -> bool:
        return key in self._videos

    def add(self, video: Video) -> None:
        """Take a request.

        Raises:
            TooMany: a limit is met.
        """
        waiting = [known for known in self._videos.values() if known.is_open]
        if len(waiting) >= self._most:
            raise TooMany(f"{len(waiting)} videos are waiting, which is all that may; ask again later")
        of_client = sum(known.client == video.client for known in waiting)
        if of_client >= self._most_of_client:
            raise TooMany(f"{of_client} of your videos are waiting, which is all that may; ask again when one is done")
        self.path(video.id).mkdir()
        self._videos[video.id] = video
        self.save(video)

    def save(self, video: Video) -> None:
        """Write a video's record; a reader sees the old one or the new one."""
        path = self.path(video.id) / RECORD
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(video), ensure_ascii=False), encoding="utf-8")
        os.replace(part, path)

    def end(self, video: Video, state: str, **changes: Any) -> None:
        """Close a request, unless it was closed meanwhile."""
        if video.is_open:
            for name, value in changes.items():
                setattr(video, name, value)
            video.state, video.ended, video.stage = state, time.time(), ""
            self.save(video)

    def place(self, video: Video) -> int:
        """The place in the queue: 1 is the next to run; 0 for a video that does not wait."""
        waiting = [known.id for known in self._videos.values() if known.state == WAITING]
        return waiting.index(video.id) + 1 if video.id in waiting else 0

    def count(self, state: str) -> int:
        return sum(video.state == state for video in self._videos.values())

    def remove(self, key: str) -> None:
        """Forget a video and remove its files."""
        self._videos.pop(key, None)
        shutil.rmtree(self.path(key), ignore_errors=True)

    def expire(self, seconds: float) -> list[str]:
        """Remove videos that ended longer ago; returns their ids."""
        old = [video.id for video in self._videos.values() if video.ended and time.time() - video.ended > seconds]
        for key in old:
            self.remove(key)
        return old

    def path(self, key: str) -> Path:
        return self.folder / key

    def file(self, video: Video) -> Path | None:
        """The first file of a video that is done, as long as it is there."""
        path = self.path(video.id) / video.files[0] if video.files else None
        return path if path is not None and path.is_file() else None


def is_wanted(folder: Path) -> bool:
    """Whether a video is still to be made, by its folder: asked by the worker, in another process."""
    video = _read(folder / RECORD)
    return video is not None and video.is_open


def _read(path: Path) -> Video | None:
    """A record; None for one that a crash has cut short."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        known = {entry.name for entry in fields(Video)}
        return Video(**{name: value for name, value in data.items() if name in known})
    except (OSError, ValueError, TypeError):
        return None
