"""The sentences of a module that a person may read, and the words that go into them.

A text of two words, or of a word beside a value, is a sentence. A single word is a message where a sentence has it in a
field, or where it stands alone in a table or a picture.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import fields

# A message: its context ("": none), and its English.
Message = tuple[str, str]
# Values that are called by what they are computed of.
_WITH_PARTS = (ast.Subscript, ast.BinOp, ast.BoolOp, ast.UnaryOp, ast.Starred, ast.NamedExpr, ast.GeneratorExp)
_WITH_PARTS += (ast.ListComp,)
# Texts with two words that nobody reads: parts of names, markup that is written into files, words looked for.
NOT_SHOWN = re.compile(
    r"""
      \\ | \(\? | \w\ \?\w              # a regular expression
    | ^<(?!Video|Picture|Audio) | <(?!Video|Picture|Audio)\w+[ >] | ^body\{ | msgid   # markup
    | \w\ \|\ \w                        # a type
    | \ motion\ score\.$ | ^\ FPS\.$      # words for a model
    """,
    re.VERBOSE,
)
_WORD = re.compile("[A-Za-z]{2}")
# Words between two values, by which a sentence is not known again.
_JOINING = re.compile(r"\b(?:of|for|to|in|on|and|or|from|has|is|no|with|by|at|are|as)\b")
# Words of names, which are the same everywhere: "Wan 2.1 T2V 14B", "mp4 h264". A name has a number.
NAME = re.compile(
    r"[A-Z0-9]\S*|(?:int|fp|nvfp)\d\S*|mp4|mov|mkv|webm|png|h26\d|hq|av1|vp9|ffv1|prores|awq|convrot|dpm.*|2m"
)
SIGNS, LABEL = (",", ";", ":", "."), "label"
# Fields that hold names: of inputs, of their choices, of files, folders, classes and layers.
HOLDING_NAMES = {
    *(
        "name",
        "value",
        "getattr",
        "choices",
        "known",
        "allowed",
        "folder",
        "key",
        "module",
        "kinds",
        "differing",
        "short",
    ),
    *("columns", "NESTS", "STEMS", "FITS", "WAYS", "GROUPS", "PARTS", "STG_SCHEDULES", "SOLVERS"),
}
# Words that are names wherever they stand.
NAMES_OF_ONE_WORD = {"auto", "easycache", "cfg"}
# Calls whose texts stand alone in a table or a picture.
LABELLED = {"as_table", "Line", "Lines", "Bars", "Strips", "Card"}
# Arguments of argparse's: what --help prints is English.
_OF_HELP = {"help", "description", "epilog", "metavar"}
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


def of_code(code: str) -> Iterator[str]:
    """The texts of a module that a person may read: of two words, or a word beside a value.

    Docstrings and texts that the page translates (titles, tooltips) are none.

    >>> list(of_code('raise ValueError(f"{path.name} has no frames; expected {len(frames)}.")'))
    ['{name} has no frames; expected {frames}.']
    """
    for node in _texts(ast.parse(code)):
        if _is_sentence(node):
            yield _message(node)


def words_of_code(code: str) -> Iterator[Message]:
    """(field, word) of what a module puts into the fields of its sentences, and (LABEL, word) of tables and pictures.

    >>> list(words_of_code("which = 'first' if n else 'last'; print(f'The {which} frame is black.')"))
    [('which', 'first'), ('which', 'last')]
    """
    tree = ast.parse(code)
    module = fields.Module.of(tree)
    sentences = [node for node in _texts(tree) if isinstance(node, ast.JoinedStr) and _is_sentence(node)]
    done = set[int]()
    while sentences:
        sentence = sentences.pop(0)
        for part in sentence.values:
            name = _name(part.value) or "value" if isinstance(part, ast.FormattedValue) else ""
            if isinstance(part, ast.FormattedValue):
                for word in module.texts(part.value):
                    if _is_word(word, name):
                        yield name, _message(word)
                    if isinstance(word, ast.JoinedStr) and id(word) not in done and not _is_sentence(word):
                        done.add(id(word))
                        sentences.append(word)
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and _name(call.func) in LABELLED:
            for argument in [*call.args, *(keyword.value for keyword in call.keywords)]:
                yield from ((LABEL, _message(word)) for word in module.texts(argument) if _is_word(word, LABEL))


def _texts(tree: ast.Module) -> Iterator[ast.Constant | ast.JoinedStr]:
    silent = {id(part) for node in ast.walk(tree) for part in _silent(node)}
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Constant, ast.JoinedStr)) or id(node) in silent:
            continue
        if isinstance(node, ast.JoinedStr) or isinstance(node.value, str):
            yield node


def _is_sentence(node: ast.AST) -> bool:
    bare = re.sub(r"\{\w+\}", "", _message(node))
    words = bare if isinstance(node, ast.JoinedStr) else bare.strip()
    return bool(
        _WORD.search(_JOINING.sub("", bare)) and " " in words and not NOT_SHOWN.search(bare) and not is_name(bare)
    )


def _is_word(node: ast.AST, context: str) -> bool:
    """A text that is no sentence by itself, and is one of words rather than a name."""
    message = _message(node)
    if isinstance(node, ast.Constant) and (message.strip() in ("and", "or", "none") or message in (", ", "; ")):
        return True
    if _is_sentence(node) or context in HOLDING_NAMES:
        return False
    if isinstance(node, ast.JoinedStr):
        bare = re.sub(r"\{\w+\}", "", message)
        return bool(_JOINING.search(bare)) or (
            message.count("{") > 1 and bool(re.fullmatch(r"[ (),]*", bare)) and " " in bare
        )
    return bool(re.fullmatch(r"[A-Za-z][a-z]+(-[a-z]+)*", message)) and message not in NAMES_OF_ONE_WORD


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
    elif isinstance(node, ast.Call) and any(keyword.arg in _OF_HELP for keyword in node.keywords):
        parts = [keyword.value for keyword in node.keywords if keyword.arg in _OF_HELP]
    elif isinstance(node, ast.AnnAssign) and _name(node.target) == "SETTINGS":
        parts = [node]  # options with their help
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
