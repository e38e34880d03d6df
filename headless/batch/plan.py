"""From rows and grids to jobs: one job is one run of the workflow with its values."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ...media.encoding import EncodingError, encoding_of
from ...media.rows import Row, Table
from ..graph import WorkflowError
from ..kept import WEIGHTS
from ..workflow import read_json
from .check import Checker
from .columns import SHORT, Column, Columns

# {name}; {a|b} are wildcards of prompts, {{ and }} are braces.
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}|]+)\}")
# A grid of more values than this is a slip of the keyboard.
MOST_VALUES = 100_000


class BatchError(ValueError):
    """The batch as a whole cannot run; the message says why and what to do."""


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        number: counted from 1 over the whole batch; in the order of rows, within a row of the grids.
        row, line: of the table; 0 where there is none.
        settings: column -> value, as the row and the grids have it, placeholders filled in.
        changes: "NODE.INPUT=VALUE" for `headless.load_changed`.
        digest: of the workflow and the changes; jobs with equal digests make equal files.
        model: equal for jobs that need the same models loaded.
        alike: equal for jobs that may be made in one run, see `alike`.
        problem: why it cannot run, "" where it can.
    """

    number: int
    row: int
    line: int
    settings: dict[str, str]
    changes: tuple[str, ...] = ()
    digest: str = ""
    model: str = ""
    problem: str = ""
    alike: str = ""


@dataclass
class Plan:
    """What a batch is to do. It is read anew from its file each time it is gone through, so that it needs no memory.

    Args:
        text: the workflow file's.
        rows: the table; None: a single row without cells.
        grids: (column, values); each multiplies the jobs, the last one changes fastest.
        fixed: column -> value for rows that have no such cell; may hold placeholders.
        ignored: columns that are for other eyes.
    """

    text: str
    classes: Mapping[str, Any]
    titles: Mapping[str, str]
    rows: Table | None = None
    grids: Sequence[tuple[str, Sequence[str]]] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.flow = read_json(self.text)
        self.columns = Columns(self.flow, self.classes, self.titles)
        self.checker = Checker(self.text, self.columns.graph, self.classes, self.titles)
        self.workflow_digest = hashlib.sha256(json.dumps(self.flow, sort_keys=True).encode()).hexdigest()
        self._placeholders: set[str] = set()  # those that some text has used
        doubled = {name for name, _ in self.grids} & {*(self.rows.columns if self.rows else ()), *self.fixed}
        if doubled:
            raise BatchError(f"{sorted(doubled)[0]!r} is set by a grid, and by a column or --set as well; keep one")
        if self.rows:
            unknown = self.ignored - {*self.rows.columns} if not self.rows.is_json else set()
            if unknown:
                raise BatchError(
                    f"{sorted(unknown)[0]!r} is to be ignored, but {self.rows.path.name} has no such column"
                )

    def jobs(self) -> Iterator[Job]:
        """Every job, checked, in order.

        Raises:
            BatchError, WorkflowError, TableError: something is wrong with all of them.
        """
        names = [name for name, _ in self.grids]
        number = 0
        for row in self.rows.rows() if self.rows else [Row(1, 0)]:
            for values in itertools.product(*(values for _, values in self.grids)):
                number += 1
                if row.problem:
                    yield Job(number, row.number, row.line, {}, problem=row.problem)
                    break
                cells = {**self.fixed, **row.cells, **dict(zip(names, values, strict=True))}
                yield self._job(number, row, {name: cell for name, cell in cells.items() if name not in self.ignored})

    def check_columns(self) -> None:
        """Called once all jobs were gone through: a column that nothing reads is a slip of the keyboard.

        Raises:
            BatchError: there is one.
        """
        header = self.rows.columns if self.rows else ()
        for name in [*header, *self.fixed, *(name for name, _ in self.grids)]:
            if name not in self.ignored and name not in self._placeholders and self.columns[name] is None:
                close = get_close_matches(name.lower(), SHORT, 1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                raise BatchError(
                    f"column {name!r} is no input of the workflow{hint}, and no text holds {{{name}}}. Rename it: "
                    f"{', '.join(self.columns.short_names())} or NODE.INPUT, or leave it out with --ignore {name}"
                )

    def _job(self, number: int, row: Row, cells: dict[str, str]) -> Job:
        try:
            settings = {name: self._filled(name, cell, cells) for name, cell in cells.items()}
            columns = self._columns_of(settings)
        except (ValueError, WorkflowError) as error:
            if isinstance(error, WorkflowError) and not (self.rows and self.rows.is_json):
                raise BatchError(str(error)) from error
            return Job(number, row.number, row.line, cells, problem=str(error))
        texts = {column: settings[column.name] for column in columns}
        problem = self.checker.problem(texts)
        changes = tuple(f"{column.target}={text}" for column, text in texts.items())
        digest = hashlib.sha256("\0".join([self.workflow_digest, *sorted(changes)]).encode()).hexdigest()
        model = "\0".join(f"{column.target}={text}" for column, text in texts.items() if self._is_model(column))
        return Job(number, row.number, row.line, settings, changes, digest, model, problem, alike(texts))

    def _columns_of(self, settings: Iterable[str]) -> list[Column]:
        columns: list[Column] = []
        for name in settings:
            column = self.columns[name]
            if column is None:
                if self.rows and self.rows.is_json and name not in self._placeholders:
                    raise ValueError(f"{name!r} is no input of the workflow, and no text of the row holds {{{name}}}")
                continue
            twin = next((known.name for known in columns if known.target == column.target), "")
            if twin:
                raise WorkflowError(f"columns {twin!r} and {name!r} both set {column.target}; keep one of them")
            columns.append(column)
        return columns

    def _filled(self, name: str, text: str, cells: Mapping[str, str]) -> str:
        """A cell with its placeholders filled in; values of placeholders are taken as they are."""
        if "{" not in text and "}" not in text:
            return text

        def value(match: re.Match[str]) -> str:
            key = match[1]
            if key is None:
                return match[0][0]
            key = key.strip()
            if key == name or key not in cells:
                known = ", ".join(cell for cell in cells if cell != name) or "none"
                empty = ", and is empty in this row" if self.rows and key in self.rows.columns else ""
                raise ValueError(
                    f"{name} holds {match[0]}, which stands for no value{empty}; the row has {known}. "
                    "Write {{ and }} for braces"
                )
            self._placeholders.add(key)
            return cells[key]

        return _PLACEHOLDER.sub(value, text)

    def _is_model(self, column: Column) -> bool:
        """Whether a column decides which weights are loaded."""
        catalog = self.checker.catalog
        return column.kind in catalog and bool(WEIGHTS & {*catalog.returns(column.kind)})


def alike(texts: Mapping[Column, str]) -> str:
    """A text that is equal for jobs that differ in texts and seeds only: one run can make them side by side."""
    return "\0".join(f"{column.target}={text}" for column, text in texts.items() if not column.is_of_a_clip)


def read_grid(text: str) -> tuple[str, list[str]]:
    """A grid, such as "seed=1..4", "cfg=2|4|6", "strength=0.5..1..0.25" or "prompt=@lines.txt" as (column, values).

    Raises:
        BatchError: no such form, no values, or too many.

    >>> read_grid("seed=1..4"), read_grid("cfg=0..1..0.5"), read_grid("prompt=a cat|a dog")
    (('seed', ['1', '2', '3', '4']), ('cfg', ['0', '0.5', '1']), ('prompt', ['a cat', 'a dog']))
    """
    name, equals, values = text.partition("=")
    name, values = name.strip(), values.strip()
    if not (equals and name and values):
        raise BatchError(f"cannot read {text!r}; expected NAME=1..4, NAME=2|4|6 or NAME=@FILE")
    if values.startswith("@"):
        lines = lines_of(Path(values[1:]))
        if not lines:
            raise BatchError(f"{values[1:]} has no lines; expected a value on each")
        return name, lines
    steps = _range(values)
    return name, steps if steps is not None else [value.strip() for value in values.split("|")]


def _range(text: str) -> list[str] | None:
    """The values of "1..4" or "0..1..0.25", both ends included; None where the text is no range."""
    parts = text.split("..")
    try:
        numbers = [Decimal(part.strip()) for part in parts]
    except InvalidOperation:
        return None
    if len(numbers) not in (2, 3) or not all(number.is_finite() for number in numbers):
        return None
    low, high, step = (*numbers, Decimal(1))[:3]
    if step <= 0 or high < low:
        raise BatchError(f"the range {text} holds nothing; expected LOW..HIGH or LOW..HIGH..STEP with a step above 0")
    count = int((high - low) / step) + 1
    if count > MOST_VALUES:
        raise BatchError(f"the range {text} holds {count} values; at most {MOST_VALUES}")
    return [_plain(low + step * index) for index in range(count)]


def _plain(number: Decimal) -> str:
    return f"{number:f}".rstrip("0").rstrip(".") if number % 1 else str(int(number))


def lines_of(path: Path) -> list[str]:
    """The lines of a text file that hold something."""
    try:
        return [line.strip() for line in path.read_text(encoding=encoding_of(path)).splitlines() if line.strip()]
    except OSError as error:
        raise BatchError(f"cannot read {path}: {error.strerror}") from None
    except (EncodingError, UnicodeDecodeError) as error:
        raise BatchError(str(error)) from None
