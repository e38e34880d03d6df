"""What the terminal shows."""

from __future__ import annotations

import io
import sys

import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar():
    import console

    out = Terminal()
    stages = console.Stages(out)
    stages.start("sample")
    stages.update(10, 20)
    stages.update(20, 20)
    stages.end(1.25)
    last = [line for line in out.getvalue().split("\r\x1b[K") if line]
    assert last[0] == "sample   ..."
    assert last[1] == f"sample   [{'#' * 15}{'.' * 15}] 10/20"
    assert last[-1] == f"sample   [{'#' * 30}] 1.2 s\n"


def test_a_file_gets_plain_lines():
    import console

    stages = console.Stages(out := io.StringIO())
    for name, seconds in (("load", 2.0), ("load", 1.0), ("save", 0.0)):
        stages.start(name)
        stages.update(1, 2)
        stages.end(seconds)
    assert out.getvalue() == "load     2.0 s\nload     1.0 s\nsave     0.0 s\n"
    assert stages.seconds == {"load": 3.0, "save": 0.0}


def test_odd_progress_does_no_harm():
    import console

    stages = console.Stages(Terminal())
    stages.start("x")
    for value, total in ((0, 0), (5, 3), (-1, 3)):
        stages.update(value, total)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "\nInterrupted.\n"),
        (ValueError("too wide; make it smaller"), 1, "error: too wide; make it smaller\n"),
        (MemoryError(), 1, "error: MemoryError\n"),
    ],
)
def test_errors_and_ctrl_c_end_a_script_without_a_stack_trace(error, code, message, capsys):
    import console

    def main():
        raise error

    assert console.guard(main) == code
    assert capsys.readouterr().err == message


def test_the_stack_trace_is_there_for_those_who_ask(monkeypatch, capsys):
    import console

    def main():
        monkeypatch.setattr(sys, "argv", ["changed"])
        raise ValueError("no")

    monkeypatch.setattr(sys, "argv", ["script", "--traceback"])
    assert console.guard(main) == 1
    assert "Traceback" in capsys.readouterr().err
