"""Sentences of the code are found again, with their values, and said in another language."""

from __future__ import annotations

import pytest

from opent2v.base.catalogue import Catalogue, catalogue, fields, read_po, translated

PO = r"""
msgid ""
msgstr "Language: xx\n"

#: a.py
msgid "{name} has {count} frames; expected {needed}."
msgstr "{name}: {needed} statt {count}."

msgid ""
"Cut "
"short: {reason}"
msgstr "Abgeschnitten: {reason}"

msgid "the disk is full"
msgstr "Platte voll"

msgid "{count} of {total} steps computed"
msgstr "{count} von {total} gerechnet"

msgid "Step cache ({policy}): {summary}"
msgstr "Zwischenspeicher ({policy}): {summary}"

msgid "It holds {{braces}} of {name}"
msgstr "{name} hat {{Klammern}}"

msgid "Memory: {bytes_text} {text}"
msgstr "Speicher: {bytes_text} {text}"

msgid "not yet"
msgstr ""
"""


@pytest.fixture(scope="module")
def messages() -> Catalogue:
    return Catalogue(PO)


@pytest.mark.parametrize(
    ("english", "other"),
    [
        ("clip.mp4 has 3 frames; expected 5.", "clip.mp4: 5 statt 3."),
        ("a;b, c has 3 frames; expected 5.", "a;b, c: 5 statt 3."),
        ("the disk is full", "Platte voll"),
        ("Cut short: the disk is full", "Abgeschnitten: Platte voll"),
        ("the disk is full: 3 of 9 steps computed", "Platte voll: 3 von 9 gerechnet"),
        ("Step cache (easycache): 3 of 9 steps computed", "Zwischenspeicher (easycache): 3 von 9 gerechnet"),
        ("It holds {braces} of x", "x hat {Klammern}"),
        ("Memory: 1.5 GiB the disk is full", "Speicher: 1.5 GiB Platte voll"),
        ("first line\n  the disk is full", "first line\n  Platte voll"),
        ("Title: the disk is full", "Title: Platte voll"),
        ("not yet", "not yet"),
        ("words of a library: [Errno 5]", "words of a library: [Errno 5]"),
        ("", ""),
        ("\n", "\n"),
    ],
)
def test_a_text_is_translated_by_its_messages(messages, english, other):
    assert messages.translate(english) == other


def test_a_field_does_not_swallow_the_next_message(messages):
    text = "Cut short: odd words. clip.mp4 has 3 frames; expected 5."
    assert messages.translate(text).endswith("clip.mp4: 5 statt 3.")


def test_what_was_translated_once_is_not_searched_for_again(messages, monkeypatch):
    expected = messages.translate("the disk is full, 4 of 9 steps computed")
    monkeypatch.setattr(Catalogue, "_search", None)
    assert messages.translate("the disk is full, 4 of 9 steps computed") == expected


def test_the_file_is_read_as_gettext_writes_it():
    assert ("", "Cut short: {reason}", "Abgeschnitten: {reason}") in read_po(PO)
    assert fields("{a} of {b2}, {{c d}}") == {"a", "b2"}


def test_a_language_without_a_file_is_english():
    assert catalogue("xx") is None and translated("the disk is full", "xx") == "the disk is full"
    assert catalogue("zh_CN.UTF-8") is catalogue("zh-TW") or catalogue("zh_CN").messages == catalogue("zh").messages
    assert translated("the disk is full", "zh") == "磁盘已满"
