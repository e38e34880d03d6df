"""Does one job in a folder of its own, so that nothing half-written is ever among the results."""

from __future__ import annotations

import errno
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .plan import Job

# A full disk or used-up quota fails every later job as well.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_BLOCK = 1 << 20


@dataclass
class ResultFile:
    """A file or a folder of numbered pictures.

    Attributes:
        name: below the job's folder.
        size: in bytes, of all files of a folder.
        sha256: of the file; of a folder, of its files' names and contents.
        content: the bytes of each file by its name below the job's folder, where they are sent home.
    """

    name: str
    size: int
    sha256: str
    content: dict[str, bytes] | None = None


@dataclass
class Result:
    """What became of a job.

    Attributes:
        folder: where the files lie until the driver gives them their names; "" where they are sent home.
        error: why it failed, "" where it did not.
        is_full: the disk is full, so no other job can succeed either.
        loads: how many times this worker has loaded weights so far.
        worker: what the worker is called in messages.
    """

    number: int
    seconds: float
    files: list[ResultFile] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    folder: str = ""
    error: str = ""
    is_full: bool = False
    loads: int = 0
    worker: str = ""


# Runs a workflow with the changes of each of several jobs, saving into a folder for each: an `Outcome` or what went
# wrong, for each.
Run = Callable[[Sequence[Sequence[str]], Sequence[Path]], Sequence[Any]]


class Workplace:
    """A process's place for doing jobs.

    Args:
        run: runs the workflow for several jobs.
        scratch: a folder on the disk of the results, or on this machine's where the files are sent home.
        sends: whether results travel as bytes, for a driver on another machine.
        loads: asks how many times weights were loaded.
    """

    def __init__(
        self, run: Run, scratch: Path, *, sends: bool = False, loads: Callable[[], int] = lambda: 0, name: str = ""
    ) -> None:
        self._run, self._scratch, self._sends, self._loads, self._name = run, scratch, sends, loads, name

    def do(self, job: Job) -> Result:
        """Do a job. What goes wrong is in the result; only KeyboardInterrupt passes through."""
        return self.do_all([job])[0]

    def do_all(self, jobs: Sequence[Job]) -> list[Result]:
        """Do jobs that one run can make; where it fails as a whole, one after another. Errors as of `do`."""
        folders = [self._scratch / f"{job.number:06d}" for job in jobs]
        start = time.perf_counter()
        try:
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)  # a try of a worker that died
                folder.mkdir(parents=True)
            outcomes = self._run([job.changes for job in jobs], folders)
        except BaseException as error:
            for folder in folders:
                with suppress(OSError):
                    shutil.rmtree(folder)
            if not isinstance(error, Exception):
                raise
            if len(jobs) > 1:
                return [self.do(job) for job in jobs]
            outcomes = [error]
        seconds = (time.perf_counter() - start) / len(jobs)
        return [self._result(*each, seconds) for each in zip(jobs, folders, outcomes, strict=True)]

    def _result(self, job: Job, folder: Path, outcome: Any, seconds: float) -> Result:
        """
        Args:
            seconds: the job's share of the run's.
        """
        try:
            if isinstance(outcome, Exception):
                raise outcome
            files = [_result_file(folder, path, self._sends) for path in dict.fromkeys(outcome.files)]
            result = Result(job.number, seconds, files, list(outcome.remarks), str(folder))
            if not files:
                result.error = "the workflow saved no file; add Save Video File or Decode to Video File"
        except Exception as error:
            with suppress(OSError):
                shutil.rmtree(folder)
            result = Result(job.number, seconds, error=str(error) or type(error).__name__)
            result.is_full = any(isinstance(cause, OSError) and cause.errno in _FULL for cause in _causes(error))
        if self._sends:
            shutil.rmtree(folder, ignore_errors=True)
            result.folder = ""
        result.loads, result.worker = self._loads(), self._name
        return result


def _result_file(folder: Path, path: Path, sends: bool) -> ResultFile:
    name = path.relative_to(folder).as_posix()
    paths = sorted(path.rglob("*")) if path.is_dir() else [path]
    paths = [part for part in paths if part.is_file()]
    content = {part.relative_to(folder).as_posix(): part.read_bytes() for part in paths} if sends else None
    return ResultFile(name, sum(part.stat().st_size for part in paths), digest_of(path), content)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    if path.is_file():
        _feed(digest, path)
        return digest.hexdigest()
    for part in sorted(part for part in path.rglob("*") if part.is_file()):
        digest.update(f"{part.relative_to(path).as_posix()}\0{part.stat().st_size}\0".encode())
        _feed(digest, part)
    return digest.hexdigest()


def _feed(digest: Any, path: Path) -> None:
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
