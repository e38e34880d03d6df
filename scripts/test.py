"""Checks everything: ruff, the format, types and all tests. Arguments go to pytest.

python3 scripts/test.py                 all of it
python3 scripts/test.py -k sampler -x   some of the tests, stopping at the first failure

The tests are shared out to up to four processes, as many as there are cores; -n 0 runs them in one.
"""

from __future__ import annotations

import os
import subprocess
import sys

import console
import environment
import pack

# accelerate and ftfy: what the reference pipeline of the comparison tests needs; peft: what trains a LoRA; gguf: what
# GGUF files are compared with; pysubs2: what reads subtitles besides SRT and WebVTT; matplotlib: what draws charts.
# The wheel of this pyright holds all of it, and nodejs the program that runs it, so that a first run loads nothing from
# elsewhere.
NEEDED = (
    "pytest>=8", "ruff>=0.6", "pyright[nodejs]>=1.1.414", "accelerate", "ftfy", "peft", "gguf", "pysubs2", "matplotlib",
)  # fmt: skip
NEEDED += ("babel", "pytest-xdist>=3.5")  # what writes the catalogues of messages; what shares the tests out
# Each process has a torch and models of its own in memory.
MOST_PROCESSES = 4
# What pytest can do only in its own process.
ALONE = {"-s", "--capture=no", "--pdb", "--trace"}
CHECKS = {
    "ruff check": ["ruff", "check"],
    "ruff format": ["ruff", "format", "--check"],
    "pyright": ["pyright", "--level", "error", "--pythonpath", sys.executable],
}


def main() -> int:
    if {"-h", "--help"} & set(sys.argv):
        print(f"usage: test.py [pytest's arguments]\n\n{__doc__}")
        return 0
    return _check()


def _check() -> int:
    """0 when every check passes; pytest comes last, so that its summary is the last thing printed."""
    environment.ensure(NEEDED)
    environment.install_if_possible(environment.requirements(pack.ROOT / "requirements-cluster.txt"))
    pack.hide_scripts()
    os.chdir(environment.ROOT)
    failed = [name for name, command in CHECKS.items() if not passes(name, command)]
    if failed:
        print(f"failed (see above): {', '.join(failed)}; the tests run all the same", flush=True)
    import pytest

    return int(pytest.main([*_shared_out(sys.argv[1:]), *sys.argv[1:]])) or int(bool(failed))


def _shared_out(arguments: list[str]) -> list[str]:
    """What tells pytest to share the tests out; each process has its part of the cores, each file stays whole."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(cores, MOST_PROCESSES)
    if processes == 1 or ALONE & set(arguments):
        return []
    os.environ.setdefault("OMP_NUM_THREADS", str(cores // processes))
    return ["-n", str(processes), "--dist", "loadfile"]


def passes(name: str, command: list[str]) -> bool:
    """Run a tool; one that cannot even start is told from one that complains."""
    print(f"{name}:", flush=True)
    if subprocess.call([sys.executable, "-m", *command]) == 0:
        return True
    start = subprocess.run([sys.executable, "-m", command[0], "--version"], capture_output=True)
    if start.returncode:
        print(
            f"{command[0]} does not start here, so {name} checked nothing. Install it with all it needs: "
            f"{sys.executable} -m pip install --force-reinstall '{_requirement(command[0])}'",
            flush=True,
        )
    return False


def _requirement(tool: str) -> str:
    return next(requirement for requirement in NEEDED if requirement.startswith(tool))


if __name__ == "__main__":
    sys.exit(console.guard(main))
