"""Many videos from a table: each row is a run of one workflow with its values. Stopped, it goes on where it was.

    python3 scripts/batch.py rows.csv --workflow workflows/quickstart.json --grid seed=1..4

A column is an input of the workflow: prompt, negative, seed, steps, cfg, width, height, frames, seconds, fps, lora,
strength, picture, sound, video, model, or NODE.INPUT. docs/batches.md says all of it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import batch_ray
import batch_session
import comfyui_start
import console
import embedded_run
import environment
import pack

CLUSTER = "requirements-cluster.txt"
WORKFLOW = pack.ROOT / "workflows" / "quickstart.json"


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.batch < 1:
        raise ValueError(f"--batch is {arguments.batch}; expected 1 or more clips in one run")
    host = batch_session.Host(
        models=_absolute(arguments.models),
        inputs=_absolute(arguments.input),
        comfyui=_absolute(arguments.comfyui),
        prompts=batch_session.prompt_folder(arguments.prompt_cache, arguments.comfyui),
    )
    if host.comfyui:
        comfyui_start.ensure(host.comfyui)
    else:
        environment.ensure(environment.requirements(pack.ROOT / CLUSTER) if arguments.ray else ())
    text = _workflow(arguments.workflow)
    pack.hide_scripts()
    output = _absolute(arguments.output) or pack.ROOT / "output" / (arguments.rows.stem if arguments.rows else "batch")
    session = batch_session.open_session(host, output)
    batch = batch_session.room(session)
    plan = _plan(arguments, text, session)
    terminal = Terminal(time.monotonic())
    report = batch.check(plan)
    for number, row, line, problem in report.refused:
        console.say(f"{_place(number, row, line)} is refused: {problem}", error=True)
    if report.refusals > len(report.refused):
        console.say(f"and {report.refusals - len(report.refused)} more are refused", error=True)
    console.say(f"{report.total} jobs, {report.refusals} refused, {report.models} sets of models, into {output}")
    if arguments.check or report.refusals == report.total:
        return int(bool(report.refusals))
    most = arguments.batch
    if not arguments.ray:
        return _make(batch, plan, report, output, terminal, lambda scratch: _here(session, text, scratch, batch, most))
    with batch_ray.cluster(arguments.ray, arguments.actors, arguments.cores) as (ray, count, takes):
        each = ", ".join(f"{amount:g} {name.removeprefix('num_')[:-1].upper()}" for name, amount in takes.items())
        console.say(f"{count} actors on Ray, {each} each")

        def on_ray(scratch: Path) -> Any:
            place = batch_ray.PackWorkplace(
                root=str(pack.ROOT) if arguments.ray == "local" else "",
                text=text,
                output=str(output),
                scratch="" if arguments.files == "home" else str(scratch),
                models=str(host.models or ""),
                inputs=str(host.inputs or ""),
                comfyui=str(host.comfyui or ""),
                prompts=str(host.prompts or ""),
            )
            return batch_ray.makers(ray, place, count, takes, batch, most)

        return _make(batch, plan, report, output, terminal, on_ray)


def _make(batch: Any, plan: Any, report: Any, output: Path, terminal: Terminal, makers: Any) -> int:
    """Make what is left, write results.csv, and say how it ended; 0 when every job is done."""
    manifest = batch.Manifest(output)
    try:
        scratch = batch.new_scratch(output)
        try:
            batch.run_batch(plan, manifest, makers(scratch), report, terminal.result)
        except KeyboardInterrupt:
            terminal.end()
            console.say(f"Stopped; {report.left} jobs are left. The same command goes on from here.", error=True)
            return console.INTERRUPTED
        finally:
            batch.remove_scratch(scratch)
        terminal.end()
        results = batch.write_results(manifest)
    finally:
        manifest.close()
    done, there, failed, refused = report.done, report.kept, report.failed, report.refusals
    console.say(f"{done} made, {there} were there, {failed} failed, {refused} refused: {results}")
    return int(bool(report.failed or report.refusals))


def _here(session: Any, text: str, scratch: Path, batch: Any, most: int) -> Any:
    """Makes the jobs in this process, one run after another."""
    place = batch.Workplace(
        lambda changes, folders: session.run_together(text, changes, folders), scratch, loads=lambda: session.loads
    )

    def makers(jobs: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        for group in batch.grouped(jobs, most):
            yield from zip(group, place.do_all(group), strict=True)

    return makers


class Terminal:
    """A line for each job, and on a terminal one below them for the whole batch."""

    def __init__(self, began: float) -> None:
        self._began, self._is_terminal = began, sys.stdout.isatty()
        self._ended = 0

    def result(self, job: Any, result: Any, report: Any) -> None:
        self._ended += 1
        place = _place(job.number, job.row, job.line)
        files = " ".join(file.name for file in result.files)
        error = result.error.splitlines()[0] if result.error else ""
        text = f"failed: {error}" if error else f"{result.seconds:.1f} s {files}"
        where = f" [{result.worker}]" if result.worker else ""
        self.end()
        console.say(f"{place}{where}: {text}")
        if self._is_terminal:
            print(console.translated(self.status(report)), end="", flush=True)

    def status(self, report: Any) -> str:
        seconds = time.monotonic() - self._began
        left = seconds / max(self._ended, 1) * report.left
        ended = report.total - report.left
        parts = [f"{ended}/{report.total}", f"{report.failed} failed", f"{_clock(seconds)} so far"]
        return ", ".join([*parts, f"about {_clock(left)} left"])

    def end(self) -> None:
        """Take the line for the whole batch off."""
        if self._is_terminal:
            print("\r\x1b[K", end="", flush=True)


def _plan(arguments: argparse.Namespace, text: str, session: Any) -> Any:
    batch = batch_session.room(session)
    rows = batch.Table(arguments.rows, arguments.encoding) if arguments.rows else None
    grids = [batch.read_grid(grid) for grid in arguments.grids]
    names = [name for name, _ in grids]
    if len({*names}) < len(names):
        raise ValueError("--grid names a column twice; give all its values at once, such as seed=1|2|3")
    return batch.Plan(
        text,
        session.classes,
        session.titles,
        rows=rows,
        grids=grids,
        fixed=dict(_setting(setting) for setting in arguments.settings),
        ignored=frozenset(arguments.ignored),
    )


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name.strip()):
        raise ValueError(f"cannot read --set {text!r}; expected NAME=VALUE, for example steps=20")
    return name.strip(), value


def _workflow(path: Path) -> str:
    return embedded_run.read_inside(path) if embedded_run.is_carrier(path) else embedded_run.read(path)


def _place(number: int, row: int, line: int) -> str:
    return f"job {number} (row {row}, line {line})" if line else f"job {number}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _absolute(path: Path | None) -> Path | None:
    return path and path.expanduser().resolve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Run a workflow for every row of a table.", epilog="docs/batches.md says what rows may hold."
    )
    add = parser.add_argument
    add("rows", type=Path, nargs="?", metavar="ROWS", help="CSV, TSV or JSON lines; without it, --grid alone")
    add("--workflow", type=Path, default=WORKFLOW, metavar="FILE", help="as of run_workflow.py (default: quickstart)")
    add("--grid", dest="grids", action="append", default=[], metavar="NAME=VALUES", help="1..4, 2|4|6 or @lines.txt")
    add("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="for rows without that cell")
    add("--ignore", dest="ignored", action="append", default=[], metavar="COLUMN", help="a column that is no input")
    add("--encoding", metavar="NAME", help="of ROWS, where it is not UTF-8, UTF-16 or GBK")
    add("--models", type=Path, metavar="DIR", help="laid out like ComfyUI's models/; the bundled ones are there anyway")
    add("--input", type=Path, metavar="DIR", help="where pictures, sounds and videos lie")
    add("--output", type=Path, metavar="DIR", help="for videos and manifest (default: output/ROWS in this pack)")
    add("--comfyui", type=Path, metavar="PATH", help="run in this ComfyUI checkout instead of the embedded host")
    batch_session.add_prompt_cache(parser)
    batch_session.add_batch(parser)
    add("--ray", metavar="WHERE", help="local: all of this machine; auto or an address: a running Ray cluster")
    add("--actors", type=int, default=0, metavar="N", help="on Ray (default: one for each GPU, or for --cores cores)")
    add("--cores", type=int, default=4, metavar="N", help="of an actor where there is no GPU (default: 4)")
    add("--files", choices=("shared", "home"), default="shared", help="home: the cluster does not share --output")
    add("--check", action="store_true", help="say what is wrong with the rows, and make nothing")
    console.add_common(parser)
    return parser


if __name__ == "__main__":
    sys.exit(console.guard(main))
