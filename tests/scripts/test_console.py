"""What the terminal shows."""

from __future__ import annotations

import ast
import io
import sys

import pytest

from opent2v.scripts.pack import ROOT


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


@pytest.fixture
def chinese(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script", "--language", "zh"])


def test_stages_and_summaries_are_in_the_terminals_language(chinese, capsys):
    import console

    stages = console.Stages(out := io.StringIO())
    stages.start("sample")
    stages.end(1.25)
    assert out.getvalue() == "采样       1.2 s\n"
    console.say("3 made, 1 were there, 0 failed, 0 refused: results.csv")
    console.say("job 2 (row 1, line 2): failed: the disk is full", error=True)
    written = capsys.readouterr()
    assert written.out == "生成 3 个，已有 1 个，失败 0 个，拒绝 0 个：results.csv\n"
    assert written.err.replace("： ", "：") == "任务 2（第 1 行数据，文件第 2 行）：失败：磁盘已满\n"


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_an_error_has_its_english_line_behind_it(chinese, capsys, kind):
    import console

    def main():
        raise kind("model.ckpt: no such file.")

    assert console.guard(main) == 1
    assert capsys.readouterr().err == "错误：model.ckpt：没有这个文件。\nerror: model.ckpt: no such file.\n"


def test_a_wrong_option_still_ends_as_argparse_ends_it():
    import console

    def main():
        raise SystemExit(2)

    with pytest.raises(SystemExit) as stopped:
        console.guard(main)
    assert stopped.value.code == 2


def test_no_script_prints_a_sentence_past_the_catalogue():
    sys.path.insert(0, str(ROOT / "scripts" / "make"))
    try:
        import messages  # pyright: ignore[reportMissingImports]
        import sentences  # pyright: ignore[reportMissingImports]
    finally:
        sys.path.pop(0)
    assert {"batch", "convert", "quickstart", "serve", "train_lora"} <= set(messages.SCRIPTS)
    past = []
    for script in messages.SCRIPTS:
        for node in ast.walk(ast.parse((ROOT / "scripts" / f"{script}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
                past += [
                    (script, ast.unparse(part)) for part in node.args if list(sentences.of_code(ast.unparse(part)))
                ]
    assert past == []
