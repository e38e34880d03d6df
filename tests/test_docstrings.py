"""The examples in docstrings give what they say. Tests: base/, sampling/, media/, training/"""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("base", "families", "finetune", "headless", "host", "loaders", "media", "nodes", "sampling", "training")
ROOMS += ("scripts",)
FILES = [
    path.relative_to(ROOT)
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.as_posix())
def test_examples_run(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = file.with_suffix("").parts
    if parts[0] == "scripts":  # they import each other by their plain names
        monkeypatch.syspath_prepend(str(ROOT / file.parent))
        module = importlib.import_module(parts[-1])
    else:
        module = importlib.import_module(".".join(("opent2v", *parts)).removesuffix(".__init__"))
    failed, tried = doctest.testmod(module)
    assert tried > 0, f"{file} has an example that is in no docstring of its own"
    assert failed == 0
