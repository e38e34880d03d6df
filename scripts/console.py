"""What the scripts write to the terminal: progress, remarks, errors."""

from __future__ import annotations

import argparse
import locale
import sys
import time
import traceback
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from io import TextIOWrapper
from typing import TextIO

INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


def guard(main: Callable[[], int]) -> int:
    """Run a script: Ctrl-C ends it quietly, an error is one message on stderr, unless `--traceback` asks for more."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a Chinese prompt on a Latin-1 terminal is no reason to stop
    wants_traceback = "--traceback" in sys.argv
    try:
        return main()
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if wants_traceback:
            traceback.print_exc()
        print(f"error: {_translated(str(error)) or type(error).__name__}", file=sys.stderr)
        return 1


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


def _translated(text: str) -> str:
    """A message of the rooms; those of the scripts are English. Works before the pack's requirements are there."""
    spoken = language()
    if spoken.startswith("en"):
        return text
    import pack

    spec = spec_from_file_location("opent2v_catalogue", pack.ROOT / "base" / "catalogue.py")
    assert spec is not None and spec.loader is not None
    catalogue = module_from_spec(spec)
    spec.loader.exec_module(catalogue)
    return catalogue.translated(text, spoken)


def describe(text: str | None) -> None:
    """Read the command line of a script that takes no options: `--help` prints its docstring."""
    argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that `guard` and `language` read."""
    parser.add_argument("--traceback", action="store_true", help="on an error, show where it happened")
    parser.add_argument(
        "--language", metavar="LANGUAGE", help="of remarks and errors: en or zh (default: the terminal's own)"
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
            self._draw(f"{name:<8} ...")

    def update(self, value: int, total: int) -> None:
        """Show that `value` of `total` parts of the stage are done."""
        now = time.monotonic()
        if not self.is_terminal or total < 1 or (value < total and now - self._drawn < 0.05):
            return
        self._drawn = now
        filled = self.WIDTH * min(max(value, 0), total) // total
        self._draw(f"{self.name:<8} [{'#' * filled}{'.' * (self.WIDTH - filled)}] {value}/{total}")

    def end(self, seconds: float) -> None:
        """Finish the stage; stages of one name (two loaders, say) are added up."""
        self.seconds[self.name] = self.seconds.get(self.name, 0.0) + seconds
        line = (
            f"{self.name:<8} {seconds:.1f} s"
            if not self.is_terminal
            else f"{self.name:<8} [{'#' * self.WIDTH}] {seconds:.1f} s"
        )
        self._draw(line)
        print(file=self.out, flush=True)

    def _draw(self, text: str) -> None:
        # Return to the line's start, and erase the rest of a longer text.
        print(f"\r\x1b[K{text}" if self.is_terminal else text, end="", file=self.out, flush=True)
