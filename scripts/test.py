"""Checks everything: ruff, pyright where it is installed, and all tests. Arguments go to pytest.

python3 scripts/test.py                 all of it
python3 scripts/test.py -k sampler -x   some of the tests, stopping at the first failure
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import console
import environment
import pack

# accelerate and ftfy: what the reference pipeline of the comparison tests needs; peft: what trains a LoRA.
NEEDED = ("pytest>=8", "ruff>=0.6", "accelerate", "ftfy", "peft")


def main() -> int:
    if {"-h", "--help"} & set(sys.argv):
        print(f"usage: test.py [pytest's arguments]\n\n{__doc__}")
        return 0
    return _check()


def _check() -> int:
    """0 when every check passes; pytest comes last, so that its summary is the last thing printed."""
    environment.ensure(NEEDED)
    pack.hide_scripts()
    os.chdir(environment.ROOT)
    checks = {"ruff": ["check"], "pyright": ["--pythonpath", sys.executable]}
    failed = [tool for tool, arguments in checks.items() if not _passes(tool, arguments)]
    if failed:
        print(f"{' and '.join(failed)} failed (see above); the tests run all the same", flush=True)
    import pytest

    return int(pytest.main(sys.argv[1:])) or int(bool(failed))


def _passes(tool: str, arguments: list[str]) -> bool:
    if importlib.util.find_spec(tool) is None:
        print(f"{tool}: not installed, skipped", flush=True)
        return True
    print(f"{tool}:", flush=True)
    return subprocess.call([sys.executable, "-m", tool, *arguments]) == 0


if __name__ == "__main__":
    sys.exit(console.guard(main))
