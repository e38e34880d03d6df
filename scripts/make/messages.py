"""Writes the English half of the pack's messages, locales/LANGUAGE/LC_MESSAGES/opent2v.po, from the code.

python3 scripts/make/messages.py              # after a sentence was changed; says what has no translation yet

Translations stay with their sentences; those of sentences that are gone go with them.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import console
import environment
import pack

ROOMS = ("base", "families", "loaders", "sampling", "media", "host", "headless", "finetune", "nodes")
LANGUAGES = ("zh",)
# Values that are called by what they are computed of.
_WITH_PARTS = (ast.Subscript, ast.BinOp, ast.BoolOp, ast.UnaryOp, ast.Starred, ast.NamedExpr, ast.GeneratorExp)
_WITH_PARTS += (ast.ListComp,)
# Texts with two words that nobody reads: parts of names, markup that is written into files, words looked for.
NOT_SHOWN = re.compile(
    r"""
      \\ | \(\? | \w\ \?\w              # a regular expression
    | ^< | <\w+[ >] | ^body\{ | msgid   # markup
    | \w\ \|\ \w                        # a type
    | \ motion\ score\.$ | ^\ FPS\.$      # words for a model
    """,
    re.VERBOSE,
)
_WORD = re.compile("[A-Za-z]{2}")
# Words between two values, by which a sentence is not known again.
_JOINING = re.compile(r"\b(?:of|for|to|in|on|and|or|from|has|is|no|then|with|by|at|are|as)\b")
# Words of names, which are the same everywhere: "Wan 2.1 T2V 14B", "mp4 h264". A name has a number.
NAME = re.compile(
    r"[A-Z0-9]\S*|(?:int|fp|nvfp)\d\S*|mp4|mov|mkv|webm|png|h26\d|hq|av1|vp9|ffv1|prores|awq|convrot|dpm.*|2m"
)
READ_BY_NOBODY = ("__repr__",)
# Calls whose texts no person sees.
SILENT_CALLS = {
    "compile",
    "search",
    "match",
    "fullmatch",
    "sub",
    "finditer",
    "split",
    "startswith",
    "endswith",
    "debug",
}


def main() -> int:
    console.describe(__doc__)
    environment.ensure(("babel",))
    pack.hide_scripts()
    sentences = messages()
    for language in LANGUAGES:
        file = path(language)
        file.parent.mkdir(parents=True, exist_ok=True)
        before = known(file)
        file.write_bytes(text(language, sentences, before))
        missing = [sentence for sentence in sentences if not before.get(sentence)]
        print(f"{file}: {len(sentences)} sentences, {len(missing)} without a translation")
        for sentence in missing:
            print(f"  {sentences[sentence][0]}: {sentence}")
    return 0


def path(language: str) -> Path:
    return pack.ROOT / "locales" / language / "LC_MESSAGES" / "opent2v.po"


def known(file: Path) -> dict[str, str]:
    """Sentence -> translation of a file; none where there is no file yet."""
    if not file.is_file():
        return {}
    from babel.messages.pofile import read_po

    with file.open("rb") as opened:
        return {str(entry.id): str(entry.string) for entry in read_po(opened) if entry.id}


def text(language: str, sentences: dict[str, list[str]], translations: dict[str, str]) -> bytes:
    """The file of a language."""
    from io import BytesIO

    from babel.messages.catalog import Catalog
    from babel.messages.pofile import write_po

    catalog = Catalog(locale=language, project="OpenT2V", charset="utf-8", fuzzy=False)
    for sentence, files in sentences.items():
        catalog.add(sentence, translations.get(sentence, ""), locations=[(file, 0) for file in files])
    written = BytesIO()
    write_po(written, catalog, width=120, include_lineno=False, omit_header=True)
    header = f'msgid ""\nmsgstr ""\n"Language: {language}\\n"\n"Content-Type: text/plain; charset=utf-8\\n"\n\n'
    return header.encode() + written.getvalue()


def messages(root: Path = pack.ROOT) -> dict[str, list[str]]:
    """Sentence with its {fields} -> the files that have it, of all rooms."""
    sentences: dict[str, list[str]] = {}
    for room in ROOMS:
        for file in sorted((root / room).rglob("*.py")):
            for sentence in of_code(file.read_text(encoding="utf-8")):
                files = sentences.setdefault(sentence, [])
                if (name := file.relative_to(root).as_posix()) not in files:
                    files.append(name)
    return sentences


def of_code(code: str) -> Iterator[str]:
    """The texts of a module that a person may read: of two words, or a word beside a value.

    Docstrings and texts that the page translates (titles, tooltips) are none.

    >>> list(of_code('raise ValueError(f"{path.name} has no frames; expected {len(frames)}.")'))
    ['{name} has no frames; expected {frames}.']
    """
    tree = ast.parse(code)
    silent = {id(part) for node in ast.walk(tree) for part in _silent(node)}
    for node in ast.walk(tree):
        is_string = isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
        if is_string and id(node) not in silent:
            sentence = _message(node)
            bare = re.sub(r"\{\w+\}", "", sentence)
            words = bare if isinstance(node, ast.JoinedStr) else bare.strip()
            if (
                _WORD.search(_JOINING.sub("", bare))
                and " " in words
                and not NOT_SHOWN.search(bare)
                and not is_name(bare)
            ):
                yield sentence


def is_name(text: str) -> bool:
    return bool(re.search(r"\d", text)) and all(NAME.fullmatch(word) for word in text.split())


def _silent(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node that hold no message of their own."""
    parts: list[ast.AST] = []
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        parts = [node.value]  # a docstring
    elif isinstance(node, ast.ClassDef):
        # Values of a class: titles and tooltips, which the page translates by itself (locales/*/nodeDefs.json).
        parts = [statement for statement in node.body if isinstance(statement, (ast.Assign, ast.AnnAssign))]
    elif isinstance(node, ast.FunctionDef) and node.name in ("INPUT_TYPES", *READ_BY_NOBODY):
        parts = [node]
    elif isinstance(node, ast.Call) and _name(node.func) in SILENT_CALLS:
        parts = [*node.args]
    elif isinstance(node, ast.Compare) and any(isinstance(way, (ast.In, ast.NotIn, ast.Eq)) for way in node.ops):
        parts = [node.left, *node.comparators]
    elif isinstance(node, ast.Assert) and node.msg is not None:
        parts = [node.msg]
    elif isinstance(node, ast.JoinedStr):
        yield from (value for value in node.values if isinstance(value, ast.Constant))
        parts = [v.format_spec for v in node.values if isinstance(v, ast.FormattedValue) and v.format_spec is not None]
    elif isinstance(node, ast.Dict):
        tooltips = (isinstance(key, ast.Constant) and key.value == "tooltip" for key in node.keys)
        parts = [value for value, is_tooltip in zip(node.values, tooltips, strict=True) if is_tooltip]
    elif isinstance(node, ast.arguments):
        parts = [argument.annotation for argument in (*node.args, *node.kwonlyargs) if argument.annotation is not None]
    for part in parts:
        yield from ast.walk(part)


def _message(node: ast.AST) -> str:
    """The text with a {field} for each value, by the value's name; a second one of that name is {name2}."""
    if isinstance(node, ast.Constant):
        return escaped(str(node.value))
    assert isinstance(node, ast.JoinedStr)
    sentence, uses = "", dict[str, int]()
    for part in node.values:
        if isinstance(part, ast.Constant):
            sentence += str(part.value).replace("{", "{{").replace("}", "}}")
        elif isinstance(part, ast.FormattedValue):
            name = _name(part.value) or "value"
            uses[name] = uses.get(name, 0) + 1
            sentence += f"{{{name}{uses[name] if uses[name] > 1 else ''}}}"
    return sentence


def escaped(constant: str) -> str:
    """A text without values in it; braces of one that is filled in later (str.format) are fields.

    >>> escaped('{} of {} read; expected {{...}}, as in {"a": 1}')
    '{value} of {value2} read; expected {{...}}, as in {{"a": 1}}'
    """
    count = 0

    def field(match: re.Match[str]) -> str:
        nonlocal count
        if match[0] in ("{{", "}}") or match[1]:
            return match[0] if not match[1] else f"{{{match[1]}}}"
        if match[0] != "{}":
            return match[0] * 2
        count += 1
        return f"{{value{count if count > 1 else ''}}}"

    return re.sub(r"\{\{|\}\}|\{([A-Za-z_]\w*)(?::[^{}]*)?\}|\{\}|[{}]", field, constant)


def _name(value: ast.AST) -> str:
    """What a value is called: the last name in it."""
    if isinstance(value, ast.Name):
        return value.id.strip("_")
    if isinstance(value, ast.Attribute):
        return value.attr.strip("_")
    if isinstance(value, ast.IfExp):
        endings = [part.value for part in (value.body, value.orelse) if isinstance(part, ast.Constant)]
        return "s" if len(endings) == 2 and "" in endings else _name(value.body) or _name(value.orelse)
    if isinstance(value, ast.Call):
        joined = isinstance(value.func, ast.Attribute) and value.func.attr == "join"
        counted = isinstance(value.func, ast.Name) and value.func.id in ("len", "round", "str", "int", "sorted", "sum")
        return _name(value.args[0]) if value.args and (joined or counted) else _name(value.func)
    children = (
        ast.Subscript,
        ast.BinOp,
        ast.BoolOp,
        ast.UnaryOp,
        ast.Starred,
        ast.NamedExpr,
        ast.GeneratorExp,
        ast.ListComp,
    )
    if isinstance(value, children):
        return next((name for child in ast.iter_child_nodes(value) if (name := _name(child))), "")
    return ""


if __name__ == "__main__":
    sys.exit(console.guard(main))
