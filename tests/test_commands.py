"""Every command that documents and docstrings name starts. Tests: scripts/, training/"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMAND = re.compile(r"python3?\s+(-m\s+[\w.]+|[\w./]+\.py|tests/tiny)((?:\s+[a-z][a-z-]*)?)")
PARTS = ("scripts/train.py",)  # scripts whose first argument chooses what the others are


def commands() -> list[str]:
    """Each script that some text names, with its part where it has parts: "scripts/train.py lora"."""
    places = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "models").rglob("*.md")]
    for room in ("scripts", "tests", "training"):
        places += [*(ROOT / room).rglob("*.md"), *(ROOT / room).rglob("*.py")]
    named = set()
    for place in places:
        for target, part in COMMAND.findall(place.read_text(encoding="utf-8")):
            script = " ".join(target.split())
            if script.startswith(("scripts/", "tests/", "-m training")):
                named.add(script + (f" {part.strip()}" if script in PARTS and part.strip() else ""))
    return sorted(named - {"scripts/train.py"})


def test_commands_are_found() -> None:
    named = commands()
    assert {"scripts/quickstart.py", "scripts/bench/media.py", "scripts/train.py lora"} <= set(named)


@pytest.mark.parametrize("command", commands())
def test_a_command_that_is_named_starts(command: str, tmp_path: Path) -> None:
    """From any folder, with `--help`."""
    first, *others = command.split()
    target = [first, *others] if first == "-m" else [str(ROOT / first), *others]
    run = subprocess.run([sys.executable, *target, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "usage: " in run.stdout
    assert list(tmp_path.iterdir()) == []
