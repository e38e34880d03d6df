"""Prompts from a table, as lists that ComfyUI runs the graph over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from ..host import InputRefused, host
from ..media import check_input, list_inputs
from ..media.rows import LARGEST_SEED, Row, Table, TableError
from .inputs import NONE
from .remarks import with_remarks
from .shared import files_state

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
# ComfyUI holds every entry's pictures until the last node has run.
MOST_ROWS = 10_000


class OpenT2VRows:
    """Gives prompts, seeds and other cells of a table as lists."""

    CATEGORY = "OpenT2V"
    FUNCTION = "read"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("STRING", "STRING", "INT", "STRING", "STRING", "FLOAT")
    RETURN_NAMES = ("prompt", "negative", "seed", "label", "text", "number")
    OUTPUT_IS_LIST = (True, True, True, True, True, True)
    OUTPUT_TOOLTIPS = (
        "The column prompt, or the typed lines.",
        "The column negative; empty where there is none.",
        "The column seed; the seed below where there is none.",
        "The column label, otherwise the row's number: for Compare Clips and file names.",
        "The column that text_column names.",
        "The column that number_column names.",
    )
    DESCRIPTION = "Prompts from a CSV or JSONL file, or typed one a line; the graph behind it runs once for each row."
    SEARCH_ALIASES: ClassVar = [
        "csv",
        "jsonl",
        "batch prompts",
        "prompt list",
        "prompts from file",
        "load prompts",
        "table",
        "spreadsheet",
        "批量提示词",
        "表格",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "file": (
                    [NONE, *list_inputs(host.file_folders()["input"], SUFFIXES)],
                    {
                        "default": NONE,
                        "tooltip": "A CSV, TSV or JSONL file in the input folder. none: the lines.",
                    },
                ),
                "lines": (
                    "STRING",
                    {"multiline": True, "default": "", "tooltip": "Prompts, one a line, where no file is chosen."},
                ),
                "seed": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": LARGEST_SEED,
                        "control_after_generate": True,
                        "tooltip": "For rows without a seed: the same for all, so that only their words differ.",
                    },
                ),
                "start": ("INT", {"default": 1, "min": 1, "max": 10_000_000, "tooltip": "First row, counted from 1."}),
                "count": (
                    "INT",
                    {"default": 0, "min": 0, "max": MOST_ROWS, "tooltip": "Rows at most. 0: all from the first one."},
                ),
            },
            "optional": {
                "text_column": (
                    "STRING",
                    {"advanced": True, "default": "", "tooltip": "Name of a column for the output text."},
                ),
                "number_column": (
                    "STRING",
                    {
                        "advanced": True,
                        "default": "",
                        "tooltip": "Name of a column for the output number.",
                    },
                ),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None = None, lines: str | None = None) -> bool:
        # None: the value comes from another node and is not known yet.
        if file == NONE and lines is not None and not lines.strip():
            raise InputRefused("lines", "No file is chosen and no line is typed. Choose a file, or type prompts.")
        if file is not None and file != NONE:
            try:
                Table(check_input(host.file_folders(), file))
            except (TableError, ValueError) as error:
                raise InputRefused("file", str(error)) from error
        return True

    @classmethod
    def IS_CHANGED(cls, file: str | None = None, **inputs: Any) -> str:
        return "" if file in (None, NONE) else files_state(check_input(host.file_folders(), file))

    def read(
        self,
        file: str,
        lines: str,
        seed: int,
        start: int,
        count: int,
        text_column: str = "",
        number_column: str = "",
    ) -> dict[str, Any]:
        """Read the rows.

        Raises:
            ValueError: a row cannot be used, or there is none; every bad row is named.
        """
        prompts, negatives, seeds, labels = list[str](), list[str](), list[int](), list[str]()
        texts, numbers, problems = list[str](), list[float](), list[str]()
        for row in _rows(file, lines, start, count):
            try:
                if row.problem:
                    raise ValueError(row.problem)
                cells = row.cells
                seeds.append(_whole(cells["seed"]) if "seed" in cells else seed)
                texts.append(_named(cells, text_column))
                numbers.append(_number(number_column, _named(cells, number_column)))
                prompts.append(cells.get("prompt", ""))
                negatives.append(cells.get("negative", ""))
                labels.append(cells.get("label", str(row.number)))
            except ValueError as error:
                problems.append(f"row {row.number} (line {row.line}): {error}")
        if problems:
            more = f"\n... and {len(problems) - 10} more" if len(problems) > 10 else ""
            raise ValueError("These rows cannot be used:\n" + "\n".join(problems[:10]) + more)
        if not prompts:
            raise ValueError(f"There is no row from row {start} on. Lower start.")
        empty = sum(not prompt.strip() for prompt in prompts)
        remarks = [f"{len(prompts)} rows: the graph runs once for each"]
        remarks += [f"{empty} of them have no prompt."] if empty else []
        return with_remarks((prompts, negatives, seeds, labels, texts, numbers), remarks)


def _rows(file: str, lines: str, start: int, count: int) -> Iterator[Row]:
    """The rows from `start` on, at most `count`.

    Raises:
        ValueError: more than `MOST_ROWS`, or a table that cannot be read.
    """
    if file == NONE:
        typed = ((number, line.strip()) for number, line in enumerate(lines.splitlines(), 1) if line.strip())
        rows = (Row(place, number, {"prompt": line}) for place, (number, line) in enumerate(typed, 1))
    else:
        table = Table(check_input(host.file_folders(), file))
        if table.columns and "prompt" not in table.columns:
            raise ValueError(f"{file} has no column prompt; it has {', '.join(table.columns)}. Rename one of them.")
        rows = table.rows()
    taken = 0
    for row in rows:
        if row.number < start:
            continue
        taken += 1
        if taken > (count or MOST_ROWS):
            if not count:
                raise ValueError(f"There are more than {MOST_ROWS} rows. Set count, or run scripts/batch.py.")
            return
        yield row


def _named(cells: dict[str, str], column: str) -> str:
    column = column.strip()
    if column and column not in cells:
        raise ValueError(f"it has nothing in column {column!r}; it has {', '.join(cells)}")
    return cells[column] if column else ""


def _whole(text: str) -> int:
    try:
        seed = int(text)
    except ValueError:
        raise ValueError(f"seed is {text!r}; expected a whole number") from None
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed is {text}; expected 0 to {LARGEST_SEED}")
    return seed


def _number(column: str, text: str) -> float:
    try:
        return float(text) if text else 0.0
    except ValueError:
        raise ValueError(f"{column} is {text!r}; expected a number") from None
