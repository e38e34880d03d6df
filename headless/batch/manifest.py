"""The record of a batch: one line of JSON for each job that was done or tried, written when it ends.

A line is on the disk before the next job's result is looked at. A line that was cut short by a crash is taken off when
the manifest is opened again.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .plan import BatchError, Job
from .work import Result, digest_of

NAME = "manifest.jsonl"
DONE, FAILED, REFUSED = "done", "failed", "refused"


class Manifest:
    """A batch's manifest, held open by one driver.

    Raises:
        BatchError: another driver has it, or the file is none.
    """

    def __init__(self, output: Path) -> None:
        output.mkdir(parents=True, exist_ok=True)
        self.output, self.path = output, output / NAME
        self._file = open(self.path, "a+b")  # noqa: SIM115 - open as long as the batch runs
        try:
            _lock(self._file, self.path)
            self._done = self._read()
        except BaseException:
            self._file.close()
            raise
        self._offsets = array("q")  # where the last line of each job is, by its number; -1: nowhere

    def close(self) -> None:
        self._file.close()

    def is_done(self, job: Job) -> bool:
        """Whether the job's files are there, whole and unchanged. Asked once for each job, in their order.

        Jobs with equal settings are told apart by their order: what was saved for the first is not the second's.
        """
        offsets = self._done.get(job.digest)
        if not offsets:
            return False
        offset = offsets.pop(0)
        entry = self._entry(offset)
        if not all(self._is_whole(file) for file in entry["files"]):
            return False
        self._note(job.number, offset)
        return True

    def add(self, job: Job, result: Result) -> dict[str, Any]:
        """Write what became of a job; its files have their names already.

        Raises:
            OSError: the disk is full, say. Nothing of the line stays.
        """
        entry: dict[str, Any] = {"job": job.number, "row": job.row, "line": job.line}
        entry |= {"state": REFUSED if job.problem else FAILED if result.error else DONE, "settings": job.settings}
        entry["files"] = [
            {
                "file": file.name,
                "bytes": file.size,
                "sha256": file.sha256,
                "changed": (self.output / file.name).stat().st_mtime_ns,
            }
            for file in result.files
        ]
        entry |= {"seconds": round(result.seconds, 3), "digest": job.digest}
        entry |= {name: text for name, text in (("error", result.error), ("worker", result.worker)) if text}
        entry |= {"remarks": result.remarks} if result.remarks else {}
        start = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(start)
            raise
        self._note(job.number, start)
        return entry

    def entries(self) -> Iterator[dict[str, Any]]:
        """The last line of every job that this driver did or passed over, in the jobs' order."""
        for offset in self._offsets:
            if offset >= 0:
                yield self._entry(offset)

    def _read(self) -> dict[str, list[int]]:
        """Offsets of lines of finished jobs, by digest; a line that was cut short is taken off."""
        self._file.seek(0)
        done: dict[str, list[int]] = {}
        offset = 0
        for line in self._file:
            try:
                if not line.endswith(b"\n"):
                    raise ValueError
                entry = json.loads(line)
                if entry["state"] == DONE:
                    done.setdefault(entry["digest"], []).append(offset)
            except (ValueError, KeyError, TypeError):
                if line.endswith(b"\n"):
                    raise BatchError(
                        f"{self.path} is no manifest of a batch (byte {offset}); move it, or choose another --output"
                    ) from None
                self._file.truncate(offset)
                break
            offset += len(line)
        return done

    def _entry(self, offset: int) -> dict[str, Any]:
        self._file.seek(offset)
        return json.loads(self._file.readline())

    def _note(self, number: int, offset: int) -> None:
        self._offsets.extend([-1] * (number + 1 - len(self._offsets)))
        self._offsets[number] = offset

    def _is_whole(self, file: dict[str, Any]) -> bool:
        path = self.output / file["file"]
        try:
            if path.is_file() and path.stat().st_size != file["bytes"]:
                return False
            # The time tells without reading; a copy of the folder has other times and is read.
            if path.is_file() and path.stat().st_mtime_ns == file["changed"]:
                return True
            return digest_of(path) == file["sha256"]
        except OSError:
            return False


def _lock(file: Any, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows refuses a second writer's rename of files by itself
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise BatchError(
            f"another batch is writing to {path.parent}; wait for it, or choose another --output folder"
        ) from None
