"""Every test file shows which file it tests. Tests: tests/"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Folders of tests whose files look at one thing from all sides.
WHOLE = {
    "browser": "web",
    "host": "host/comfyui",
    "packaging": "pyproject.toml",
    "workflows": "workflows",
    "workflows_of_old": "workflows",
}


def mirrors(file: Path) -> bool:
    """Whether a module has the name, or the beginning of the name: test_writer_sound.py tests media/writer.py."""
    folder, words = file.parent, file.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
    return any((ROOT / folder / name).with_suffix(end).exists() for name in names for end in (".py", ""))


def stated(text: str) -> list[str]:
    """The paths behind "Tests:" in a module's docstring."""
    found = re.search(r"Tests: ([\w/.]+(?:,\s+[\w/.]+)*)", ast.get_docstring(ast.parse(text)) or "")
    return [place.rstrip(".") for place in re.split(r",\s+", found[1])] if found else []


def test_every_test_file_shows_which_file_it_tests() -> None:
    lost = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        file = path.relative_to(ROOT / "tests")
        paths = stated(path.read_text(encoding="utf-8"))
        lost += [f"{file}: {place} is not there" for place in paths if not (ROOT / place).exists()]
        if not paths and file.parent.as_posix() not in WHOLE and not mirrors(file):
            lost.append(f"{file}: name it after the module that it tests, or say 'Tests: path' in its docstring")
    assert lost == []


def test_folders_that_test_a_whole_are_there() -> None:
    for folder, subject in WHOLE.items():
        assert (ROOT / "tests" / folder).is_dir() and (ROOT / subject).exists()


def test_what_is_called_slow_is_there() -> None:
    from opent2v.tests.conftest import SLOW_PATHS

    assert [path for path in SLOW_PATHS if not path.exists()] == []
