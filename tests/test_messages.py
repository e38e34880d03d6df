"""Every sentence of the rooms has its translations, with the same values. Tests: scripts/make/messages.py"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from opent2v.base.catalogue import DOMAIN, FOLDER, Catalogue, catalogue, fields, read_po

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts" / "make"))
import messages  # pyright: ignore[reportMissingImports]

sys.path.pop(0)
LANGUAGES = sorted(path.name for path in FOLDER.iterdir() if (path / "LC_MESSAGES").is_dir())
# "s" of a plural, which Chinese has not.
ENDINGS = {"s", "s2", "s3"}


def entries(language: str) -> dict[str, str]:
    file = FOLDER / language / "LC_MESSAGES" / f"{DOMAIN}.po"
    return {english: other for english, other in read_po(file.read_text(encoding="utf-8")) if english}


def values_of(message: str) -> dict[str, str]:
    """A value for each field, that no message has in it; of two beside each other the second is empty."""
    names = re.findall(r"\{([A-Za-z_]\w*)\}", message)
    forms = {"bytes_text": "{}.5 GiB", "total": "{}", "width": "{}", "height": "{}", "EXPERTS": "low noise"}
    values = {name: forms.get(name.rstrip("0123456789"), "⟨{}⟩").format(n) for n, name in enumerate(names)}
    return values | dict.fromkeys(re.findall(r"\}\{(\w+)\}", message), "")


def test_the_languages():
    assert ["zh"] == LANGUAGES == list(messages.LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_catalogue_holds_the_sentences_of_the_code_and_no_others(language):
    assert list(entries(language)) == list(messages.messages()), "run python3 scripts/make/messages.py, and translate"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_is_translated(language):
    missing = [english for english, other in entries(language).items() if not other]
    assert missing == []
    # Names and words of models may stay; a sentence may not.
    same = [english for english, other in entries(language).items() if english == other]
    assert [english for english in same if re.search(r"^[A-Z{].*[a-z] [a-z].*\.$", english)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_both_sides_have_the_same_values(language):
    for english, other in entries(language).items():
        assert fields(other) <= fields(english) and fields(english) - fields(other) <= ENDINGS, english


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_is_found_again_by_what_it_says(language):
    known = catalogue(language)
    assert isinstance(known, Catalogue)
    wrong = {}
    for english, other in known.messages.items():
        values = values_of(english)
        # Words of the sentence that stand in for a value are translated as well.
        expected = other.format(**{name: known.translate(value) for name, value in values.items()})
        if (translation := known.translate(english.format(**values))) != expected:
            wrong[english] = translation
    assert wrong == {}


def test_texts_that_nobody_reads_are_left_out():
    code = '''
"""A docstring with words."""
PATTERN = re.compile("two words|(?:three of them)")
class Node:
    DESCRIPTION = "the page translates this"
    @classmethod
    def INPUT_TYPES(cls):
        return {"x": ("INT", {"tooltip": "and this one"})}
def f(value):
    if "some words" in value:
        raise ValueError(f"{value.name} has {len(value)} frames{'s' if value else ''}: {value!r:>3}.")
    return "mp4 h264", "{} of {} read", {"tooltip": f"a {value} too"}
'''
    assert set(messages.of_code(code)) == {"{name} has {value} frames{s}: {value2}.", "{value} of {value2} read"}
