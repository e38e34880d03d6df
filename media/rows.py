"""Rows of a table in a text file: CSV as spreadsheets and people write it, and JSON lines.

One row is in memory at a time. A row that cannot be right has a `problem` and no cells; the rows behind it are read all
the same.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .encoding import EncodingError, encoding_of

LARGEST_SEED = 0xFFFFFFFFFFFFFFFF  # that a sampler takes
DELIMITERS = (",", ";", "\t", "|")
JSON_LINES = frozenset({".jsonl", ".ndjson"})
_SPREADSHEETS = frozenset({".xlsx", ".xls", ".ods", ".numbers"})
# What a spreadsheet saves for a formula without a result.
_FAILED = ("#REF!", "#N/A", "#NAME?", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!")


class TableError(ValueError):
    """The table as a whole cannot be read; the message says where and what to do."""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        number: counted from 1, without the header and empty lines.
        line: the line of the file where the row begins, counted from 1.
        cells: by column; a cell that is empty is left out.
        problem: why the row cannot be used, "" where it can.
    """

    number: int
    line: int
    cells: dict[str, str] = field(default_factory=dict)
    problem: str = ""


class Table:
    """A file of rows.

    Args:
        encoding: Python's name; None: told by the file's bytes.

    Attributes:
        columns: the names in the header; empty for JSON lines, where each row names its own.
        delimiter: between the cells, "" for JSON lines.

    Raises:
        TableError: no such file, no text file, or a header that cannot be used.
    """

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.path = path
        if path.suffix.lower() in _SPREADSHEETS:
            raise TableError(f"{path.name} is a spreadsheet; save it as 'CSV UTF-8' and give that file.")
        try:
            self.encoding = encoding or encoding_of(path)
            with self._open() as file:
                start = file.read(64).lstrip()
        except FileNotFoundError:
            raise TableError(f"{path} does not exist; expected a file of rows (.csv, .tsv or .jsonl).") from None
        except IsADirectoryError:
            raise TableError(f"{path} is a folder; expected a file of rows (.csv, .tsv or .jsonl).") from None
        except EncodingError as error:
            raise TableError(str(error)) from None
        except LookupError:
            raise TableError(f"{encoding!r} is no encoding Python knows; expected utf-8, gbk, cp1252 ...") from None
        except UnicodeDecodeError as error:
            raise TableError(_undecodable(path, error)) from None
        if not start:
            raise TableError(f"{path.name} is empty; expected a header with the names of the columns, then rows.")
        if start.startswith("["):
            raise TableError(f"{path.name} is one JSON list; expected JSON lines: one object a line.")
        self.is_json = path.suffix.lower() in JSON_LINES or start.startswith("{")
        self.columns: tuple[str, ...] = ()
        self.delimiter, self._header_at = "", 0
        if not self.is_json:
            self._read_header()

    def rows(self) -> Iterator[Row]:
        """The rows in the file's order.

        Raises:
            TableError: the file stops being text in its encoding.
        """
        try:
            with self._open() as file:
                yield from self._json_rows(file) if self.is_json else self._csv_rows(file)
        except UnicodeDecodeError as error:
            raise TableError(_undecodable(self.path, error)) from None

    def _open(self) -> Any:
        return open(self.path, encoding=self.encoding, newline="")

    def _read_header(self) -> None:
        with self._open() as file:
            line, skipped = next(((line, index) for index, line in enumerate(file) if line.strip()), ("", 0))
            if line.lower().startswith("sep=") and len(line.strip("\r\n")) == 5:  # how Excel states the delimiter
                self.delimiter, skipped = line[4], skipped + 1
        self._header_at = skipped
        self.delimiter = self.delimiter or _delimiter(line)
        with self._open() as file:
            reader = self._reader(file)
            try:
                names = [name.strip() for name in next(reader)]
            except (csv.Error, StopIteration) as error:
                raise TableError(f"{self.path.name}: the header cannot be read ({error or 'it is missing'}).") from None
        while names and not names[-1]:
            names.pop()
        doubled = sorted({name for name in names if name and names.count(name) > 1})
        if doubled:
            raise TableError(f"{self.path.name}: two columns are called {doubled[0]!r}; rename one of them.")
        if "" in names:
            raise TableError(f"{self.path.name}: column {names.index('') + 1} has no name; write one into the header.")
        self.columns = tuple(names)

    def _reader(self, file: Any) -> Any:
        for _ in range(self._header_at):
            next(file)
        return csv.reader(file, delimiter=self.delimiter, strict=True)

    def _csv_rows(self, file: Any) -> Iterator[Row]:
        reader, number = self._reader(file), 0
        next(reader)
        while True:
            line = self._header_at + reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                number += 1
                last = self._header_at + reader.line_num
                yield Row(number, line, problem=_csv_problem(error, line, last))
                continue
            if not any(cell.strip() for cell in cells):
                continue
            number += 1
            yield self._csv_row(number, line, cells)

    def _csv_row(self, number: int, line: int, cells: list[str]) -> Row:
        count, surplus = len(self.columns), [cell for cell in cells[len(self.columns) :] if cell.strip()]
        if surplus:
            counts = f"it has {len(cells)} cells, the header {count}"
            return Row(number, line, problem=f"{counts}; put a text that holds {self.delimiter!r} in quotes")
        if len(cells) < count:
            return Row(number, line, problem=f"it has {len(cells)} cells, the header {count}; a cell is missing")
        named = {name: cell for name, cell in zip(self.columns, cells, strict=False) if cell.strip()}
        problem = next((f"{name} {fault}" for name, cell in named.items() if (fault := _formula(cell))), "")
        return Row(number, line, {} if problem else named, problem)

    def _json_rows(self, file: Any) -> Iterator[Row]:
        number = 0
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            number += 1
            try:
                yield Row(number, line, _json_cells(text))
            except ValueError as error:
                yield Row(number, line, problem=str(error))


def cell_text(value: Any) -> str:
    """A JSON value as the text that a cell of a CSV would hold.

    Raises:
        ValueError: a list or an object.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return repr(value)
    raise ValueError(f"is {type(value).__name__} data; expected a text, a number, true or false")


def _json_cells(text: str) -> dict[str, str]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON (column {error.colno}: {error.msg})") from None
    except RecursionError:
        raise ValueError("it nests its values too deeply") from None
    if not isinstance(data, dict):
        raise ValueError(f"it holds {type(data).__name__} data; expected an object, {{...}}")
    cells: dict[str, str] = {}
    for name, value in data.items():
        if value is None:
            continue
        try:
            cells[name.strip()] = cell_text(value)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return cells


def _delimiter(line: str) -> str:
    """The delimiter that the header has most often outside quotes; a comma where it has none."""
    outside = "".join(line.split('"')[::2])
    return max(DELIMITERS, key=outside.count)


def _formula(cell: str) -> str:
    text = cell.strip()
    if text in _FAILED:
        return f"is {text}, a formula without a result; save the table with values"
    if text.startswith("=") and len(text) > 1:
        return f"is the formula {text[:40]!r}; save the table with values"
    return ""


def _csv_problem(error: csv.Error, line: int, last: int) -> str:
    where = f"line {line}" if last <= line else f"lines {line} to {last}"
    if "NUL" in str(error):
        return f"{where}: there is a zero byte in it"
    if "field larger" in str(error):
        return f"{where}: a cell has more than {csv.field_size_limit()} letters; is a quote not closed?"
    return f'{where}: the quotes do not fit ({error}); a quote inside a quoted text is written twice ("")'


def _undecodable(path: Path, error: UnicodeDecodeError) -> str:
    return f"{path.name} is not {error.encoding} throughout ({error.reason}); save it as 'CSV UTF-8'."
