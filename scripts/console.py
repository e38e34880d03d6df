"""What the scripts write to the terminal: progress, remarks, errors."""

from __future__ import annotations

import argparse
import functools
import locale
import sys
import time
import traceback
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from io import TextIOWrapper
from typing import Any, TextIO

INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


def guard(main: Callable[[], int]) -> int:
    """Run a script: Ctrl-C ends it quietly, an error is one message on stderr, unless `--traceback` asks for more.

    In another language than English, the English message follows, by which it can be searched for.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a Chinese prompt on a Latin-1 terminal is no reason to stop
    wants_traceback = "--traceback" in sys.argv
    try:
        return main()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        say("Interrupted.", error=True)
        return INTERRUPTED
    except SystemExit as stop:
        if not isinstance(stop.code, str):
            raise
        _complain(stop.code)
        return 1
    except Exception as error:
        if wants_traceback:
            traceback.print_exc()
        _complain(str(error) or type(error).__name__)
        return 1


def _complain(text: str) -> None:
    message = f"error: {text}"
    translation = translated(message)
    print(message if translation == message else f"{translation}\n{message}", file=sys.stderr)


def say(text: str, *, error: bool = False) -> None:
    """Print a line in the terminal's language.

    Args:
        error: to stderr.
    """
    line = translated(text, is_label=" " not in text)
    print(line, file=sys.stderr if error else sys.stdout, flush=True)


def language() -> str:
    """What `--language` says, else the terminal's own: "en", "zh_CN" ..."""
    for argument, following in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        if argument == "--language":
            return following
        if argument.startswith("--language="):
            return argument.partition("=")[2]
    try:
        name = locale.getlocale(locale.LC_CTYPE)[0] or "en"
        return "zh" if name.startswith("Chinese") else name  # Windows: "Chinese (Simplified)_China"
    except ValueError:  # a name that this system does not know
        return "en"


def translated(text: str, is_label: bool = False) -> str:
    """A text of the rooms or the scripts in the terminal's language. Works before the pack's requirements are there.

    Args:
        is_label: it stands alone, as the name of a stage does.
    """
    spoken = language()
    return text if spoken.startswith("en") else _catalogue().translated(text, spoken, is_label)


@functools.cache
def _catalogue() -> Any:
    import pack

    spec = spec_from_file_location("opent2v_catalogue", pack.ROOT / "base" / "catalogue.py")
    assert spec is not None and spec.loader is not None
    catalogue = module_from_spec(spec)
    spec.loader.exec_module(catalogue)
    return catalogue


def describe(text: str | None) -> None:
    """Read the command line of a script that takes no options: `--help` prints its docstring."""
    argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that `guard` and `language` read."""
    parser.add_argument("--traceback", action="store_true", help="on an error, show where it happened")
    parser.add_argument(
        "--language", metavar="LANGUAGE", help="of what is said: en or zh (default: the terminal's own)"
    )


class Stages:
    """A progress bar for each stage of a run, one below the other; plain lines when the output is no terminal.

    >>> stages = Stages(out=sys.stdout)
    >>> stages.start("sample"); stages.update(1, 2); _ = stages.end(1.25)
    sample   1.2 s
    """

    WIDTH = 30

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.is_terminal = self.out.isatty()
        self.name = ""
        self.seconds: dict[str, float] = {}
        self._drawn = 0.0

    def start(self, name: str) -> None:
        self.name, self._drawn = name, 0.0
        if self.is_terminal:
            self._draw(f"{self._shown} ...")

    def update(self, value: int, total: int) -> None:
        """Show that `value` of `total` parts of the stage are done."""
        now = time.monotonic()
        if not self.is_terminal or total < 1 or (value < total and now - self._drawn < 0.05):
            return
        self._drawn = now
        filled = self.WIDTH * min(max(value, 0), total) // total
        self._draw(f"{self._shown} [{'#' * filled}{'.' * (self.WIDTH - filled)}] {value}/{total}")

    def end(self, seconds: float) -> None:
        """Finish the stage; stages of one name (two loaders, say) are added up."""
        self.seconds[self.name] = self.seconds.get(self.name, 0.0) + seconds
        line = (
            f"{self._shown} {seconds:.1f} s"
            if not self.is_terminal
            else f"{self._shown} [{'#' * self.WIDTH}] {seconds:.1f} s"
        )
        self._draw(line)
        print(file=self.out, flush=True)

    @property
    def _shown(self) -> str:
        """The stage's name in the terminal's language, in a column of its own."""
        return f"{translated(self.name, is_label=True):<8}"

    def _draw(self, text: str) -> None:
        # Return to the line's start, and erase the rest of a longer text.
        print(f"\r\x1b[K{text}" if self.is_terminal else text, end="", file=self.out, flush=True)
