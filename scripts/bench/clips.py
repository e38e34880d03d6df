"""What several clips in one run of the model bring beside the same clips one after another, on the bundled model.

python3 scripts/bench/clips.py --clips 2 4 8 --set OpenT2VSampler.steps=8
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import console
import embedded_run
import environment
import pack

WORDS = ("a red circle", "a blue star", "a green square", "an orange triangle")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="NODE.INPUT=VALUE")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    arguments = parser.parse_args()
    environment.ensure(())
    import torch

    torch.set_num_threads(arguments.threads)
    text = (pack.ROOT / "workflows" / "quickstart.json").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        session = embedded_run.Session(models=None, stages=console.Stages(io.StringIO()))
        session.run(text, arguments.changes, Path(folder))  # loads the model
        for count in arguments.clips:
            prompts = [f"OpenT2VEncodePrompt.positive={WORDS[n % len(WORDS)]}" for n in range(count)]
            changes = [[f"OpenT2VSampler.seed={n}", prompts[n], *arguments.changes] for n in range(count)]
            folders = [Path(folder) / f"{count}" / f"{n}" for n in range(count)]

            def alone(changes: list[list[str]] = changes, folders: list[Path] = folders) -> None:
                for each, place in zip(changes, folders, strict=True):
                    session.run(text, each, place)

            def together(changes: list[list[str]] = changes, folders: list[Path] = folders) -> None:
                for outcome in session.run_together(text, changes, folders):
                    if isinstance(outcome, Exception):
                        raise outcome

            _measure(count, alone, together, arguments.repeats)
    return 0


def _measure(count: int, alone: Callable[[], None], together: Callable[[], None], repeats: int) -> None:
    import torch

    # On a busy machine without a GPU, the processor's time tells more than the clock on the wall.
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    seconds: dict[Callable[[], None], list[float]] = {alone: [], together: []}
    for _ in range(repeats):
        for run, taken in seconds.items():
            start = clock()
            run()
            taken.append(clock() - start)
    one_by_one, at_once = (statistics.median(taken) for taken in seconds.values())
    print(
        f"{count} clips: {one_by_one:.2f} s one after another, {at_once:.2f} s in one run: "
        f"{one_by_one / at_once:.2f} times the clips",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(console.guard(main))
