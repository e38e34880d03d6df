"""Remarks for the user that know what they are: a verdict, a table, the plan of a step cache.

A `Remark` is a plain string wherever strings are joined, logged or compared. A page draws the rest that it knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .catalogue import translated

# What a verdict says; a page has a colour for each.
FITS, LOOK, REFUSED = "fits", "look", "refused"


class Remark(str):
    """A text and how it is drawn.

    Attributes:
        drawing: entries for JSON, some of
            "verdict": FITS, LOOK or REFUSED;
            "table": lines of cells, the headings first, with "verdicts", one for each line below them ("": none);
            "plans": {"label", "steps"}, with a letter for each step, C computed and r reused.
    """

    drawing: Mapping[str, Any]

    def __new__(cls, text: str, **drawing: Any) -> Remark:
        remark = super().__new__(cls, text)
        remark.drawing = drawing
        return remark


def fits(text: str) -> Remark:
    return Remark(text, verdict=FITS)


def look(text: str) -> Remark:
    return Remark(text, verdict=LOOK)


def refused(text: str) -> Remark:
    return Remark(text, verdict=REFUSED)


def as_table(rows: Sequence[Sequence[str]], verdicts: Sequence[str] = (), text: str | None = None) -> Remark:
    """A table.

    Args:
        rows: cells, the headings first.
        verdicts: one for each row below the headings; () where there are none.
        text: what stands for it where nothing is drawn; None: its rows, with bars between the cells.
    """
    if text is None:
        text = "\n".join(" | ".join(row) for row in rows)
    cells = [list(row) for row in rows]
    return Remark(text, table=cells, verdicts=list(verdicts) or [""] * (len(cells) - 1))


def steps_strip(text: str, steps: str, label: str = "") -> Remark:
    """The steps of a run under a step cache.

    Args:
        steps: a letter for each, C computed and r reused.
        label: whose steps they are: an expert, a pass of the guidance.
    """
    return Remark(text, plans=[{"label": label, "steps": steps}])


def prefixed(name: str, remark: str) -> str:
    """ "name: remark", drawn as the remark is."""
    text = f"{name}: {remark}"
    if not isinstance(remark, Remark):
        return text
    drawing = dict(remark.drawing)
    if "plans" in drawing:
        drawing["plans"] = [{**each, "label": f"{name} {each['label']}".strip()} for each in drawing["plans"]]
    return Remark(text, **drawing)


def lines(remarks: Iterable[str]) -> list[str]:
    """The remarks as single lines of plain text."""
    return [line for remark in remarks for line in str(remark).split("\n")]


def drawings(remarks: Iterable[str]) -> list[dict[str, Any]]:
    """The remarks for a page: each {"text": ...} with the entries of its drawing."""
    return [{"text": str(remark), **(remark.drawing if isinstance(remark, Remark) else {})} for remark in remarks]


def in_language(remarks: Iterable[str], language: str) -> list[str]:
    """The remarks in a language, each drawn as it was: cells of tables and labels of plans are translated too."""
    return [_in_language(remark, language) for remark in remarks]


def _in_language(remark: str, language: str) -> str:
    text = translated(str(remark), language)
    if not isinstance(remark, Remark):
        return text
    drawing = dict(remark.drawing)
    if "table" in drawing:
        drawing["table"] = [[translated(cell, language, is_label=True) for cell in row] for row in drawing["table"]]
    if "plans" in drawing:
        drawing["plans"] = [{**plan, "label": translated(plan["label"], language)} for plan in drawing["plans"]]
    return Remark(text, **drawing)
