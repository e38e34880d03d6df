"""The pack's sentences in other languages.

The code writes English, with the values already in it. What reaches a person is translated where it leaves the pack:
the sentence is found again among those of locales/LANGUAGE/LC_MESSAGES/opent2v.po (gettext's form, whose English half
scripts/make/messages.py writes from the code). A sentence without a translation stays English. Single words are
messages of the field that they stand in, gettext's context: "last" of {which} is one thing and a name "last" another.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "locales"
DOMAIN = "opent2v"
_FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")
# Fields whose values have a form of their own; others are any text.
_FORMS = {
    "bytes_text": r"([\d.]+ [KMGT]?i?B)",
    **dict.fromkeys(("n", "number", "used", "multiple"), r"([\d.]+)"),
    "list": r"(\[.*?\]|\d.*?)",
    **dict.fromkeys(("total", "width", "height", "across", "down"), r"(\d+)"),
    "EXPERTS": "((?:high|low) noise)",
}
# Fields that hold a person's own words, which are shown as they were written.
_AS_WRITTEN = {"words", "negative", "lstrip", "prompt"}
# What separates sentences that the code has joined: the next one begins behind it.
_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")
# Where a message begins that the code puts behind another: ", 4 unmatched", " (weights kept)".
_TAILS = re.compile(r"[,;]\s+|\s\(")
# What separates parts that may be messages of their own, such as a node's title from what it says.
_PARTS = re.compile(r"(?<=[.!?:,;])\s+")
# Contexts of messages besides the names of fields: signs behind a part, and what stands alone in a table or a picture.
SIGN, LABEL = "sign", "label"
SIGNS = (",", ";", ":", ".")
BETWEEN_CELLS = " | "
_ENDS = (",", ";", ":")
_QUOTED = re.compile(r"""(['"])(?:(?!\1).)*\1""")
_WORD = re.compile("[A-Za-z]{2}")
_WIDE_END = re.compile(r"[\u3000-\u303f\uff00-\uffef]$")
_MOST_KNOWN = 10_000
# The most sentences that a message of the catalogue is made of.
_LONGEST = 8


class Catalogue:
    """The messages of a .po file: English with {fields} -> the same in another language.

    Args:
        po: the file as it is edited, so that no compiled copy of it can be older than it.
    """

    def __init__(self, po: str) -> None:
        self.messages: dict[str, str] = {}
        # Context -> English -> translation.
        self.words: dict[str, dict[str, str]] = {}
        for context, english, translation in read_po(po):
            if english and translation:
                (self.words.setdefault(context, {}) if context else self.messages)[english] = translation
        plain = {e.format(): t.format() for e, t in self.messages.items() if not fields(e)}
        # Lines are translated without the space around them.
        self._without_fields = {english.strip(): translation.strip() for english, translation in plain.items()} | plain
        self._signs = self.words.get(SIGN, {})
        # What texts are in this language, by the text and whether all parts of it have to be messages.
        self._known: dict[tuple[str, bool], str | None] = {}

    def translate(self, text: str) -> str:
        """A text of the pack in this language: its lines, their sentences, and what stands in their fields.

        What is no message (a file's name, a number, a library's words) stays as it is.
        """
        return self._whole(text) or "\n".join(self._line(line) for line in text.split("\n"))

    def label(self, text: str) -> str:
        """A text that stands alone: a cell of a table, a name of a picture."""
        return self._in_field(LABEL, text, False) or self.translate(text)

    def _line(self, line: str) -> str:
        if BETWEEN_CELLS in line:
            return BETWEEN_CELLS.join(self.label(cell) for cell in line.split(BETWEEN_CELLS))
        text = line.lstrip()
        indent = line[: len(line) - len(text)]
        return indent + "".join(self._sentences(text.rstrip()))

    def _sentences(self, text: str, strict: re.Pattern[str] | None = None) -> list[str]:
        """The longest runs of parts that are a message, one after the other.

        strict: what separates the parts, where each has to be a message, and the text has several; nothing is returned
            if one is not.
        """
        breaks = list((strict or _PARTS).finditer(text))
        starts, ends = [0, *(b.end() for b in breaks)], [*(b.start() for b in breaks), len(text)]
        parts: list[str] = []
        first = 0
        while first < len(starts):
            part, last = None, first
            for last in range(min(first + _LONGEST, len(starts)) - 1, first - 1, -1):
                is_all = last - first == len(breaks)
                if not (strict and is_all):
                    part = self._whole(text[starts[first] : ends[last]], strict is not None)
                if part is not None:
                    break
            if part is None and strict is not None:
                return []
            parts.append(text[starts[first] : ends[first]] if part is None else part)
            first = last + 1
            # Chinese punctuation has its space in itself.
            if first < len(starts) and not _WIDE_END.search(parts[-1]):
                parts.append(text[ends[last] : starts[first]])
        return parts

    def _whole(self, text: str, strict: bool = False) -> str | None:
        """The translation of a text that is a message as a whole, or one with a sign behind it; None: it is neither.

        strict: every part of its fields is a message too.
        """
        if (text, strict) not in self._known:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            self._known[text, strict] = self._search(text, strict)
        return self._known[text, strict]

    def _search(self, text: str, strict: bool) -> str | None:
        if text in self._without_fields:
            return self._without_fields[text]
        if text[-1:] in _ENDS and (stem := self._whole(text[:-1], strict)) is not None:
            return stem + self._signs.get(text[-1], text[-1])
        matches = [(pattern, values) for pattern in self._patterns if (values := pattern.values(text)) is not None]
        translation = self._filled(matches, _PARTS) or self._with_tail(text)
        if translation is None and not strict:
            translation = (
                "".join(self._sentences(text, _PARTS)) or self._named(text) or self._filled(matches, _SENTENCES)
            )
        if translation is not None:
            return translation
        if re.search(r"[^.]\.$", text) and (stem := self._whole(text[:-1], strict)) is not None:
            return stem + self._signs.get(".", ".")
        # The code has put a part at a line's beginning.
        if text[:1].isupper() and (part := self._whole(text[0].lower() + text[1:], strict)) is not None:
            return part[0].upper() + part[1:]
        return None

    def _filled(self, matches: list[tuple[_Pattern, dict[str, str]]], breaks: re.Pattern[str]) -> str | None:
        """The first of the messages whose fields' values are translated too."""
        for pattern, values in matches:
            filled = {name: self._value(name, value, breaks) for name, value in values.items()}
            if None not in filled.values():
                return pattern.translation.strip("\n").format(**filled)
        return None

    def _in_field(self, context: str, text: str, strict: bool) -> str | None:
        """The translation of what a field holds, by the words of that field: one of them, or several in a list."""
        words = self.words.get(context, {})
        known = words.get(text) or self._whole(text, strict)
        if known is not None or not words or _SENTENCES.search(text):
            return known
        # What stands between the items of a list: "a, b and c".
        for between in (" and ", " or ", "; ", ", "):
            if between in words and between in text and not (between == ", " and "[" in text):
                items = text.split(between)
                return words[between].join(self._in_field(context, item, strict) or item for item in items)
        matches = [
            (pattern, values)
            for english, translation in words.items()
            if fields(english) and (values := (pattern := _Pattern(english, translation)).values(text)) is not None
        ]
        return self._filled(matches, _PARTS)

    def _named(self, text: str) -> str | None:
        """A message with a name or another one before it: "model.safetensors: no weights in it"."""
        name, colon, rest = text.partition(": ")
        part = self._whole(rest, True) if colon else None
        head = self._whole(name, True) if colon else None
        if head is not None and part is None:
            part = self._whole(rest)
        return part and f"{head or name}{self._signs.get(':', ': ')}{part}"

    def _with_tail(self, text: str) -> str | None:
        """A text whose end is a message that begins with a sign: "400 of 400 match" and ", 4 unmatched"."""
        for part in _TAILS.finditer(text):
            head, tail = text[: part.start()], text[part.start() :]
            # No message ends or begins within brackets.
            if not head or head.count("(") != head.count(")") or (end := self._whole(tail, True)) is None:
                continue
            begin = self._whole(head, True)
            if begin is not None or not _PARTS.search(head):
                return (head if begin is None else begin) + end
        return None

    def _value(self, name: str, value: str, breaks: re.Pattern[str]) -> str | None:
        """A field's value: often a part of a sentence that the code put in. None: it has parts that are no messages.

        Such a value has swallowed the end of one message and the beginning of the next.
        """
        name = name.rstrip("0123456789")
        if name in _AS_WRITTEN or _QUOTED.fullmatch(value):
            return value
        if (part := self._in_field(name, value, breaks is _PARTS)) is not None:
            return part
        if not _WORD.search(value):
            return None if breaks is _PARTS and re.search(r"[;:.] ", value) else value
        if breaks.search(value.strip()):
            return self._whole(value, breaks is _PARTS) or "".join(self._sentences(value.strip(), breaks)) or None
        return self.translate(value)

    @cached_property
    def _patterns(self) -> list[_Pattern]:
        with_fields = (
            _Pattern(english, translation)
            for english, translation in self.messages.items()
            if fields(english) and english != translation
        )
        # What begins with a field begins with any text: such a message is asked after the others.
        return sorted(with_fields, key=lambda pattern: (pattern.pieces[0] == "", -pattern.weight))


class _Pattern:
    """A message with fields, to be recognised in a text with values."""

    def __init__(self, english: str, translation: str) -> None:
        self.english, self.translation = english, translation
        # Where a message ends in a line's end, other lines follow it.
        pieces = _FIELD.split(english.strip("\n"))
        self.fields = pieces[1::2]
        self.pieces = [piece.replace("{{", "{").replace("}}", "}") for piece in pieces[::2]]
        self.weight = sum(len(piece) for piece in self.pieces)

    def values(self, text: str) -> dict[str, str] | None:
        """Field -> its part of the text; None: the text is no such message."""
        if self.pieces[0][:1] == " " != text[:1]:
            text = f" {text}"  # a message that the code puts behind another, as a part of its own
        if not text.startswith(self.pieces[0]) or not text.endswith(self.pieces[-1]):
            return None
        if any(piece not in text for piece in self.pieces):
            return None
        match = self._regex.fullmatch(text)
        return None if match is None else dict(zip(self.fields, match.groups(), strict=True))

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        # Of two fields beside each other the first takes what there is: where they meet cannot be told.
        fields = [
            _FORMS.get(name.rstrip("0123456789"), "(.*)" if piece == "" else "(.*?)")
            for name, piece in zip(self.fields, self.pieces[1:], strict=True)
        ]
        pattern = re.escape(self.pieces[0]) + "".join(
            field + re.escape(piece) for field, piece in zip(fields, self.pieces[1:], strict=True)
        )
        # A line is a text of its own, unless the message itself has several.
        return re.compile(pattern, re.DOTALL if "\n" in self.english.strip() else 0)


def read_po(text: str) -> Iterator[tuple[str, str, str]]:
    """(msgctxt or "", msgid, msgstr) of a .po file's entries, the header's msgid being "".

    Plurals are not read: which word a number takes is decided where the English is written.
    """
    parts: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), 'msgid ""']:
        keyword, _, rest = line.partition(" ")
        if keyword in ("msgctxt", "msgid", "msgstr"):
            if keyword != "msgstr" and "msgstr" in parts:
                yield parts.get("msgctxt", ""), parts["msgid"], parts["msgstr"]
                parts = {}
            name, line = keyword, rest
        if line.startswith('"'):
            # A .po file's strings have C's escapes, which Python's own strings read alike.
            parts[name] = parts.get(name, "") + ast.literal_eval(line)


def fields(message: str) -> set[str]:
    return set(_FIELD.findall(message))


@cache
def catalogue(language: str) -> Catalogue | None:
    """The messages of a language ("zh"; "zh-TW" and "zh_CN" have the same); None: the pack has none of it."""
    path = FOLDER / re.split("[-_.]", language)[0] / "LC_MESSAGES" / f"{DOMAIN}.po"
    return Catalogue(path.read_text(encoding="utf-8")) if path.is_file() else None


def translated(text: str, language: str, is_label: bool = False) -> str:
    """A text of the pack in a language, or as it is.

    Args:
        is_label: it stands alone, as the cells of tables and the names in pictures do.
    """
    messages = catalogue(language)
    if messages is None:
        return text
    try:
        return messages.label(text) if is_label else messages.translate(text)
    except RecursionError:  # an odd text of another program; what was to be said is more than its language
        return text
