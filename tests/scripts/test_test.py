"""scripts/test.py: which tools run, and that a complaint of any of them fails the whole."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FILE = Path(__file__).resolve().parents[2] / "scripts" / "test.py"


@pytest.fixture
def script(monkeypatch):
    """The script as a module; whatever it starts is in its `commands`, and no tool really runs."""
    spec = importlib.util.spec_from_file_location("opent2v_scripts_test", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.commands, module.complains, module.starts = [], set(), True

    def call(command):
        module.commands.append(command[2:])
        return int(" ".join(command[2:4]) in module.complains)

    def run(command, **_):
        return SimpleNamespace(returncode=int(not module.starts))

    monkeypatch.setattr(module, "subprocess", SimpleNamespace(call=call, run=run))
    monkeypatch.setattr(module.environment, "ensure", lambda needed: None)
    monkeypatch.setattr(module.pack, "hide_scripts", lambda: None)
    monkeypatch.setattr(module.os, "chdir", lambda folder: None)
    monkeypatch.setattr(pytest, "main", lambda arguments: 0)
    return module


def test_the_format_and_types_are_checked_beside_the_rest(script):
    assert script.main() == 0
    assert [command[:2] for command in script.commands[:2]] == [["ruff", "check"], ["ruff", "format"]]
    assert script.commands[2] == ["pyright", "--level", "error", "--pythonpath", sys.executable]


@pytest.mark.parametrize("tool", ["ruff check", "ruff format", "pyright --level"])
def test_a_complaint_of_one_fails_the_whole_though_the_tests_pass(script, capsys, tool):
    script.complains = {tool}
    assert script.main() == 1
    assert f"failed (see above): {tool.removesuffix(' --level')}; the tests run all the same" in capsys.readouterr().out


def test_a_tool_that_does_not_start_says_how_to_install_it(script, capsys):
    script.complains, script.starts = {"pyright --level"}, False
    assert script.main() == 1
    said = capsys.readouterr().out
    assert "pyright does not start here, so pyright checked nothing." in said
    assert "-m pip install --force-reinstall 'pyright[nodejs]>=1.1.414'" in said


@pytest.mark.parametrize(
    ("cores", "arguments", "shared_out", "threads"),
    [
        (2, ["-k", "sampler"], ["-n", "2", "--dist", "loadfile"], "1"),
        (16, [], ["-n", "4", "--dist", "loadfile"], "4"),
        (1, [], [], None),
        (16, ["--pdb"], [], None),
        (16, ["-s", "tests/media"], [], None),
    ],
)
def test_tests_are_shared_out_to_the_cores(script, monkeypatch, cores, arguments, shared_out, threads):
    given = []
    monkeypatch.setattr(pytest, "main", lambda arguments: given.extend(arguments) or 0)
    monkeypatch.setattr(script.os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.setattr(sys, "argv", ["test.py", *arguments])
    monkeypatch.setenv("OMP_NUM_THREADS", "to be put back")
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert script.main() == 0
    assert given == [*shared_out, *arguments], "a person's own arguments come last, so they win"
    assert script.os.environ.get("OMP_NUM_THREADS") == threads
