"""Goes through a plan: jobs that are done already are passed over, and each result is written down at once."""

from __future__ import annotations

import csv
import itertools
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .manifest import Manifest
from .plan import Job, Plan
from .work import Result, ResultFile, digest_of

RESULTS = "results.csv"
_SCRATCH = ".batch-"
# A spreadsheet takes a text that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# Jobs of the models to come that are held in memory, about a kilobyte each, to save going through the plan again.
_HELD = 10_000

# Jobs that are looked at to find some that one run can make.
_LOOKED_AT = 256

# Makes jobs, in this process or in many: their results in any order, each with its job.
Makers = Callable[[Iterator[Job]], Iterator[tuple[Job, Result]]]


class BatchStopped(RuntimeError):
    """The batch cannot go on; the message says why. What is done stays, and the next start goes on."""


@dataclass
class Report:
    """How far a batch is.

    Attributes:
        total: jobs in all.
        counts: set of models -> jobs that need it, without those that cannot run; in the order in which they come.
        kept: jobs that an earlier start has done.
        refused: (job's number, row, line, problem) of the jobs that cannot run; the first hundred.
    """

    total: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    done: int = 0
    failed: int = 0
    refusals: int = 0
    refused: list[tuple[int, int, int, str]] = field(default_factory=list)

    @property
    def models(self) -> int:
        """How many different sets of models the jobs need."""
        return max(len(self.counts), 1)

    @property
    def left(self) -> int:
        return self.total - self.kept - self.done - self.failed - self.refusals


def check(plan: Plan) -> Report:
    """Go through all jobs without making any.

    Raises:
        BatchError, WorkflowError, TableError: the batch as a whole cannot run.
    """
    report = Report()
    for job in plan.jobs():
        report.total += 1
        if job.problem:
            report.refusals += 1
            if len(report.refused) < 100:
                report.refused.append((job.number, job.row, job.line, job.problem))
        else:
            report.counts[job.model] = report.counts.get(job.model, 0) + 1
    plan.check_columns()
    return report


def new_scratch(output: Path) -> Path:
    """A fresh folder for jobs that are not done yet; those of drivers that were killed are removed."""
    for folder in output.glob(f"{_SCRATCH}*"):
        shutil.rmtree(folder, ignore_errors=True)
    scratch = output / f"{_SCRATCH}{secrets.token_hex(4)}"
    scratch.mkdir(parents=True)
    return scratch


def remove_scratch(scratch: Path) -> None:
    """Remove the folder for unfinished jobs."""
    shutil.rmtree(scratch, ignore_errors=True)


def run_batch(
    plan: Plan,
    manifest: Manifest,
    makers: Makers,
    report: Report,
    on_result: Callable[[Job, Result, Report], None] = lambda job, result, report: None,
) -> Report:
    """Make everything that is not done yet.

    Args:
        report: what `check` has said of this plan; it is carried on.
        makers: is handed the jobs that are left, those of one model together, and asked for one result after another.
    Raises:
        BatchStopped: the disk is full.
    """
    for job, result in makers(_left(plan, manifest, report)):
        try:
            if result.is_full:
                raise BatchStopped(result.error)
            result.files = [replace(file, name=place(manifest.output, job, result, file)) for file in result.files]
            manifest.add(job, result)
            if result.folder:
                shutil.rmtree(result.folder, ignore_errors=True)
        except OSError as error:
            raise BatchStopped(f"cannot write to {manifest.output}: {error.strerror or error}") from error
        report.done, report.failed = report.done + (not result.error), report.failed + bool(result.error)
        on_result(job, result, report)
    return report


def _left(plan: Plan, manifest: Manifest, report: Report) -> Iterator[Job]:
    """The jobs to make; those that cannot run go into the manifest."""
    for job in _by_model(plan, report.counts):
        if job.problem:
            manifest.add(job, Result(job.number, 0.0, error=job.problem))
        elif manifest.is_done(job):
            report.kept += 1
        else:
            yield job


def _by_model(plan: Plan, counts: Mapping[str, int]) -> Iterator[Job]:
    """All jobs: model by model, in the order in which the models come, within a model in the table's."""
    for turn, (model, *later) in enumerate(_turns(counts)):
        held: dict[str, list[Job]] = {name: [] for name in later}
        for job in plan.jobs():
            if job.problem:
                if turn == 0:
                    yield job
            elif job.model == model:
                yield job
            elif job.model in held:
                held[job.model].append(job)
        for jobs in held.values():
            yield from jobs


def _turns(counts: Mapping[str, int]) -> list[list[str]]:
    """The models of each time that the plan is gone through; jobs of all but the first one are held meanwhile."""
    turns: list[list[str]] = []
    room = 0
    for model, count in counts.items():
        if turns and count <= room:
            turns[-1].append(model)
            room -= count
        else:
            turns.append([model])
            room = _HELD
    return turns or [[""]]


def grouped(jobs: Iterator[Job], most: int) -> Iterator[list[Job]]:
    """The jobs in groups of up to `most` that one run can make, in the order of each group's first job or nearly so."""
    held: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        key = (job.model, job.alike)
        if any(model != job.model for model, _ in held):  # the models before are done with first
            yield from held.values()
            held.clear()
        held.setdefault(key, []).append(job)
        if len(held[key]) >= most:
            yield held.pop(key)
        elif sum(map(len, held.values())) >= _LOOKED_AT:
            yield held.pop(next(iter(held)))
    yield from held.values()


def place(output: Path, job: Job, result: Result, file: ResultFile) -> str:
    """Give a job's file its name among the results; returns it, below the output folder.

    Nothing is overwritten but an equal file, which a driver that was killed has left without a line in the manifest.
    """
    source, inner = Path(result.folder) / file.name, Path(file.name)
    if file.content is not None:
        source = _written(output, file)
    stem = f"{job.number:06d}_{job.digest[:6]}_{inner.stem}"
    folder = output / inner.parent
    folder.mkdir(parents=True, exist_ok=True)
    names = (f"{stem}{f'-{number}' if number > 1 else ''}{inner.suffix}" for number in itertools.count(1))
    target = next(path for name in names if not (path := folder / name).exists() or digest_of(path) == file.sha256)
    if not target.exists():
        os.rename(source, target)
    return target.relative_to(output).as_posix()


def _written(output: Path, file: ResultFile) -> Path:
    """The file that was sent home, in a folder for unfinished ones."""
    folder = next(iter(output.glob(f"{_SCRATCH}*")), None) or new_scratch(output)
    for name, content in (file.content or {}).items():
        path = folder / "sent" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    file.content = None
    return folder / "sent" / file.name


def write_results(manifest: Manifest) -> Path:
    """Write results.csv: all jobs in their order with settings and files, for a spreadsheet."""
    columns: dict[str, None] = {}
    for entry in manifest.entries():
        columns |= dict.fromkeys(entry["settings"])
    path = manifest.output / RESULTS
    part = path.with_suffix(".part")
    with open(part, "w", encoding="utf-8-sig", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["job", "row", "state", *columns, "files", "seconds", "error"])
        for entry in manifest.entries():
            cells = [entry["settings"].get(name, "") for name in columns]
            files = " ".join(file["file"] for file in entry["files"])
            row = [entry["job"], entry["row"], entry["state"], *cells, files, entry["seconds"], entry.get("error", "")]
            writer.writerow([_safe(cell) if isinstance(cell, str) else cell for cell in row])
    os.replace(part, path)
    return path


def _safe(text: str) -> str:
    """A text that a spreadsheet does not take for a formula; numbers stay as they are."""
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
        return text
    except ValueError:
        return f"'{text}"
