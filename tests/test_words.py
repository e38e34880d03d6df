"""Names in the rooms say what a thing is.

Tests: base/, families/, loaders/, sampling/, media/, host/, headless/, finetune/, nodes/, training/, scripts/
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("base", "families", "loaders", "sampling", "media", "host", "headless", "finetune", "nodes", "training")
ROOMS += ("scripts",)
# A name of only one of these words hides what the thing is: an outcome, a Tensor, a folder.
EMPTY_WORDS = {
    "found",
    "further",
    "given",
    "made",
    "one",
    "other",
    "own",
    "said",
    "settle",
    "settled",
    "told",
    "under",
    "wanted",
}
# Names that the rooms had, and the ones that replace them.
REPLACED = {
    "MadeFor": "ModelSetup",
    "Part": "BatchItem",
    "can_be_made_again": "make_reloadable",
    "is_text": "is_text_encoder",
    "seen_through": "wiener_filtered",
    "settle_on_load": "finish_each_load",
    "with_own": "with_overrides",
}


def empty_names(code: str) -> Iterator[tuple[int, str]]:
    """(line, name) of each variable, parameter, attribute, function, class or import that is called by an empty word.

    A leading underscore does not count. Names that code of other packages has are not looked at where they are read.
    """
    for node in ast.walk(ast.parse(code)):
        for name in _bound(node):
            if name.lstrip("_") in EMPTY_WORDS | REPLACED.keys():
                yield getattr(node, "lineno", 0), name


def _bound(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.attr
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.alias):
        yield node.asname or node.name


def test_no_name_is_an_empty_word():
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        for line, name in empty_names(path.read_text(encoding="utf-8"))
    ]
    assert not faults, f"call these by what they hold (see CONTRIBUTING.md, Rules of the rooms): {faults}"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("found = 1", "found"),
        ("def f(wanted): ...", "wanted"),
        ("def f(**given): ...", "given"),
        ("class A:\n    made: int = 0", "made"),
        ("class A:\n    def __init__(self):\n        self._own = 1", "_own"),
        ("sizes = [len(one) for one in names]", "one"),
        ("apply = lambda other: other", "other"),
        ("def settle(): ...", "settle"),
        ("from .stage import Part", "Part"),
        ("class MadeFor: ...", "MadeFor"),
        ("if (said := text()): ...", "said"),
    ],
)
def test_a_planted_name_is_found(code, name):
    assert [word for _, word in empty_names(code)] == [name]


@pytest.mark.parametrize(
    "code", ["other_expert = 1", "recognised = found.variant", "path.joinpath(one=1)", "parts = ()"]
)
def test_longer_names_and_those_of_others_pass(code):
    assert not list(empty_names(code))
