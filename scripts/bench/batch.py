"""What a batch costs beside its jobs: time and memory of the driver for each row, and what a second actor brings.

python3 scripts/bench/batch.py --rows 10000
"""

from __future__ import annotations

import argparse
import csv
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import batch_ray
import console
import environment
import pack


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the table (default: 10000)")
    parser.add_argument("--job", type=float, default=1.0, help="milliseconds of a job (default: 1)")
    arguments = parser.parse_args()
    environment.ensure(environment.requirements(pack.ROOT / "requirements-cluster.txt"))
    pack.mount()
    pack.hide_scripts()
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.csv"
        with open(rows, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["prompt", "seed"])
            writer.writerows([f"a red circle, take {number}", number] for number in range(arguments.rows))
        for actors in (1, 2):
            _measure(rows, Path(folder) / f"{actors}", actors, arguments.rows, arguments.job / 1000)
    return 0


def _measure(rows: Path, output: Path, actors: int, count: int, seconds: float) -> None:
    from opent2v import nodes  # pyright: ignore[reportMissingImports]
    from opent2v.headless import batch  # pyright: ignore[reportMissingImports]
    from opent2v.tests.scripts.stub_workplace import stub  # pyright: ignore[reportMissingImports]

    text = (pack.ROOT / "workflows" / "quickstart.json").read_text(encoding="utf-8")
    plan = batch.Plan(text, nodes.NODE_CLASS_MAPPINGS, nodes.NODE_DISPLAY_NAME_MAPPINGS, rows=batch.Table(rows))
    start = time.perf_counter()
    report = batch.check(plan)
    checked = time.perf_counter() - start
    manifest, scratch = batch.Manifest(output), batch.new_scratch(output)
    peaks = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
    started: list[float] = []

    def on_result(job: Any, result: Any, report: Any) -> None:
        started.append(time.perf_counter()) if not started else None
        if report.done % max(count // 4, 1) == 0:
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    with batch_ray.cluster("local", actors=actors, cores=1) as (ray, number, takes):
        makers = batch_ray.makers(ray, stub(str(scratch), seconds), number, takes, batch)
        processor = time.process_time()
        batch.run_batch(plan, manifest, makers, report, on_result)
        processor = time.process_time() - processor
        wall = time.perf_counter() - started[0]
    manifest.close()
    quarters = ", ".join(f"{peak / 1024:.0f}" for peak in peaks)
    each, driver, check = (1000 * seconds / count for seconds in (wall, processor, checked))
    print(f"{actors} actors, {count} rows: {count / wall:.0f} rows a second, {each:.2f} ms a row;")
    print(f"  the driver's processor {driver:.2f} ms a row, the check before {check:.3f} ms a row;")
    print(f"  peak memory at the start and after each quarter: {quarters} MiB", flush=True)


if __name__ == "__main__":
    sys.exit(console.guard(main))
